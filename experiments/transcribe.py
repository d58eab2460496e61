"""Transcribes recordings or live audio, with partial transcripts.

python -m experiments.transcribe --model=workdir/prompts/models/aware --audio=a.wav,b.m4a
python -m experiments.transcribe --model=... --audio=talk.flac --format=srt > talk.srt
arecord -f S16_LE -r 16000 -c 1 | python -m experiments.transcribe --model=... --audio=-

``--model`` also takes an exported artefact (``.../artefact``): the NumPy player then decodes it in
the chip's integers. Ends with status 1 if a recording could not be read, 130 after Ctrl-C.
"""

import json
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags

from data.audio_stream import read_file, read_pipe
from data.skips import SkipError
from experiments.flags import may_be_remote, run, set_up_jax
from experiments.interrupt import Interrupt
from rnnt_qat.artefact.artefact import MANIFEST, ArtefactError, load
from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.decoding.endpoint import EndpointConfig
from rnnt_qat.decoding.search import SearchConfig
from rnnt_qat.decoding.words import Word
from rnnt_qat.experiment.artefact_engine import ArtefactEngine
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.recognizer_engine import RecognizerEngine
from rnnt_qat.experiment.remote_paths import readable_folder
from rnnt_qat.experiment.transcriber import LiveTranscriber
from rnnt_qat.experiment.transcript_formats import FORMATS, Segment, TranscriptFormat
from rnnt_qat.infra.config import ConfigError, from_json
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress

_MODEL = flags.DEFINE_string("model", None, "A model directory, or an artefact's.", required=True)
_AUDIO = flags.DEFINE_list(
    "audio",
    None,
    "Sound files of any rate; - is stdin: a sound file, or raw mono s16le samples.",
    required=True,
)
_CHUNK_MS = flags.DEFINE_float("chunk_ms", 240.0, "Audio that is decoded at once.")
_RAW_RATE_HZ = flags.DEFINE_integer(
    "raw_rate_hz", 16_000, "Rate of raw samples on stdin.", lower_bound=1000
)
_BEAM = flags.DEFINE_integer(
    "beam_size", 0, "Beam search of this width; 0 is the model's own search.", lower_bound=0
)
_NBEST = flags.DEFINE_integer(
    "nbest", 1, "Readings of a segment to print, at most the beam's width.", lower_bound=1
)
_ENDPOINT = flags.DEFINE_string(
    "endpoint",
    "live",
    "Where segments end before the audio does: live (Kaldi's rules, on stdin alone), on, off, or a "
    "JSON file of an EndpointConfig.",
)
_FORMAT = flags.DEFINE_enum("format", "text", list(FORMATS), "What is printed.")
may_be_remote(_MODEL)


_SHOWN_WORDS = 16
"""Words of a partial transcript: a recording is one segment, which may be hours long."""


class TranscribeFlagError(flags.Error):
    """A flag value that is incompatible with the model or another flag."""


def main() -> int:
    """Prints partial transcripts to stderr and segments to stdout; returns the exit code."""
    names = _checked_names()
    set_up_jax(keep_above_s=0.0)  # a short recording waits for every small program
    transcribers = _Transcribers(readable_folder(_MODEL.value))
    writer = FORMATS[_FORMAT.value]()
    sys.stdout.write(writer.header())
    console, failed = Console(period_seconds=0.0), 0
    with Interrupt() as interrupt:
        for name in names:
            try:
                _transcribe(name, transcribers, writer, console, interrupt)
            except SkipError as error:
                failed += 1
                console.say(f"--audio={name}: {error.detail}")
            if interrupt.came:
                return 130
    return int(failed > 0)


def _checked_names() -> list[str]:
    names = [name.strip() for name in _AUDIO.value]
    if names.count("-") > 1:
        raise TranscribeFlagError("--audio: stdin (-) can be read once")
    if _FORMAT.value in ("srt", "vtt") and len(names) > 1:
        raise TranscribeFlagError(
            f"--format={_FORMAT.value} is for one recording: give one --audio"
        )
    if _CHUNK_MS.value <= 0:
        raise TranscribeFlagError(f"--chunk_ms={_CHUNK_MS.value:g} must be above 0")
    if _NBEST.value > max(_BEAM.value, 1):
        raise TranscribeFlagError(
            f"--nbest={_NBEST.value}: give --beam_size of at least as many; it is {_BEAM.value}"
        )
    return names


class _Transcribers:
    """The transcribers of a model, for recordings and for live audio."""

    def __init__(self, model: pathlib.Path):
        self._model: Recognizer | None = None
        self._endpoints = _endpoints()
        self._made: dict[EndpointConfig | None, LiveTranscriber] = {}
        self._uncompiled: dict[LiveTranscriber, RecognizerEngine] = {}
        if (model / MANIFEST).exists() and not (model / "recognizer.json").exists():
            if _BEAM.value:
                raise TranscribeFlagError("--beam_size: an artefact is decoded greedily")
            try:
                self._artefact = load(model)
            except ArtefactError as error:
                raise TranscribeFlagError(f"--model={model}: {error}") from error
        else:
            self._model = Recognizer.load(model)

    def of(self, name: str) -> LiveTranscriber:
        """Returns the transcriber for a recording or stdin."""
        recording, live = self._endpoints
        endpoint = live if name == "-" else recording
        if endpoint not in self._made:
            try:
                if self._model is None:
                    player = ArtefactEngine(self._artefact, _CHUNK_MS.value, endpoint)
                    self._made[endpoint] = LiveTranscriber(player)
                else:
                    engine = self._engine(self._model, endpoint)
                    self._made[endpoint] = LiveTranscriber(engine)
                    self._uncompiled[self._made[endpoint]] = engine
            except ValueError as error:
                raise TranscribeFlagError(f"--chunk_ms: {error}") from error
        return self._made[endpoint]

    def compile(self, transcriber: LiveTranscriber, console: Console) -> None:
        """Compiles the programs of a transcriber, unless they are."""
        if engine := self._uncompiled.pop(transcriber, None):
            with Progress("compiling", console, remains=False):
                engine.compile()

    def _engine(self, model: Recognizer, endpoint: EndpointConfig | None) -> RecognizerEngine:
        search: SearchConfig = model.config.evaluation.search
        if _BEAM.value:
            search = BeamConfig(beam_size=_BEAM.value)
        return RecognizerEngine(model, search, _CHUNK_MS.value, endpoint, _NBEST.value)


def _endpoints() -> tuple[EndpointConfig | None, EndpointConfig | None]:
    """Returns the endpointing rules for recordings and for stdin."""
    chosen = _ENDPOINT.value
    if chosen == "off":
        return None, None
    if chosen in ("live", "on"):
        return (EndpointConfig() if chosen == "on" else None), EndpointConfig()
    try:
        config = from_json(EndpointConfig, _read_json(chosen))
    except (OSError, ConfigError, ValueError) as error:
        raise TranscribeFlagError(
            f"--endpoint={chosen}: not live, on, off or a JSON file of an EndpointConfig ({error})"
        ) from error
    return config, config


def _read_json(path: str) -> dict:
    content = json.loads(pathlib.Path(path).read_text("utf-8"))
    if not isinstance(content, dict):
        raise ConfigError("it holds no JSON object")
    return content


def _transcribe(
    name: str,
    transcribers: _Transcribers,
    writer: TranscriptFormat,
    console: Console,
    interrupt: Interrupt,
) -> None:
    """Prints the segments of one recording.

    Raises:
      SkipError: if it cannot be read to its end; segments before the error are printed.
    """
    transcriber = transcribers.of(name)
    said: list[Word] = []
    fault: list[SkipError] = []
    shown = ""

    def readable() -> Iterator[np.ndarray]:
        try:
            for piece in _audio(name, transcriber.sample_rate_hz):
                transcribers.compile(transcriber, console)  # only now: the file may not be there
                yield piece
        except SkipError as error:
            fault.append(error)

    for transcript in transcriber.transcribe(interrupt.until(readable())):
        said += transcript.words
        if not transcript.final:
            time = f"{transcript.seconds:7.2f} s  "
            text = _end_of(said, transcript.pending, (console.columns or 1000) - len(time))
            if text != shown:
                console.progress(time + text, force=True)
            shown = text
            continue
        if fault and not transcript.seconds:
            break
        console.end_line()
        sys.stdout.write(writer.segment(Segment(name, tuple(said), transcript)))
        sys.stdout.flush()
        said, shown = [], ""
    if fault:
        raise fault[0]


def _end_of(said: Sequence[Word], pending: str, room: int) -> str:
    """Returns the end of a transcript for one line.

    Args:
      said: words that do not change any more.
      pending: text that may.
      room: characters of the line; at most ``_SHOWN_WORDS`` words are shown in any case.
    """
    for count in range(min(len(said), _SHOWN_WORDS), -1, -1):
        recent = [word.text for word in said[len(said) - count :]]
        text = " ".join([*["..."] * (count < len(said)), *recent, pending]).strip()
        if len(text) < room:
            break
    return text


def _audio(name: str, rate_hz: int) -> Iterator[np.ndarray]:
    if name == "-":
        return read_pipe(sys.stdin.buffer, rate_hz, _RAW_RATE_HZ.value)
    return read_file(pathlib.Path(name), rate_hz)


if __name__ == "__main__":
    run(main)
