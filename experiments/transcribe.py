"""Transcribes recordings, or PCM as it comes; partial transcripts are printed on the way.

python -m experiments.transcribe --model=workdir/prompts/models/aware --audio=a.wav,b.flac
arecord -f S16_LE -r 16000 -c 1 | python -m experiments.transcribe --model=... --audio=-
"""

import pathlib
import sys
from collections.abc import Iterator

import numpy as np
from absl import flags

from data.audio import decode_audio
from data.skips import SkipError
from experiments.flags import run
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.transcriber import LiveTranscriber
from rnnt_qat.infra.console import Console

_MODEL = flags.DEFINE_string("model", None, "A model directory.", required=True)
_AUDIO = flags.DEFINE_list(
    "audio", None, "WAV, FLAC, MP3 or Ogg files; - is 16 kHz mono s16le from stdin.", required=True
)
_CHUNK_MS = flags.DEFINE_float("chunk_ms", 240.0, "Audio that is decoded at once.")


def main() -> None:
    """Partials go to stderr, one final line a recording to stdout."""
    recognizer = Recognizer.load(pathlib.Path(_MODEL.value))
    search = recognizer.config.evaluation.search
    transcriber = LiveTranscriber(recognizer, search, _CHUNK_MS.value)
    console = Console(period_seconds=0.0)
    for name in _AUDIO.value:
        try:
            pieces = _microphone(transcriber) if name == "-" else [decode_audio(pathlib.Path(name))]
        except SkipError as error:
            sys.exit(f"--audio={name}: there is no such file, or no audio in it ({error.detail})")
        said = None
        for transcript in transcriber.transcribe(pieces):
            if transcript.text != said and not transcript.final:
                console.progress(f"{transcript.seconds:7.2f} s  {transcript.text}", force=True)
            said = transcript.text
        console.end_line()
        print(f"{name}\t{said}", flush=True)


def _microphone(transcriber: LiveTranscriber) -> Iterator[np.ndarray]:
    """Stdin's samples, a chunk at a time."""
    size = 2 * transcriber.chunk_samples
    while piece := sys.stdin.buffer.read(size):
        yield np.frombuffer(piece[: len(piece) // 2 * 2], "<i2").astype(np.int16)


if __name__ == "__main__":
    run(main)
