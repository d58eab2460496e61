"""Ours among other recognizers: word errors, bytes and speed on the same recordings.

    sh benchmarks/make_recognizers.sh peers
    python -m benchmarks.recognizers --models=data/pretrained/assistant \
        --test=asterisk_prompts:test --output=recognizers.json \
        --peer_python=peers/venv/bin/python --peers=moonshine=FOLDER,pocketsphinx=

Ours decode greedily on a stream in chunks of 240 ms. Others decode as their authors do: Moonshine
and PocketSphinx a whole utterance at a time, Vosk a stream. All texts are compared after the same
normalization (``data.text``): a digit that a recognizer writes is spelled out. Speed: processor
seconds for a second of audio of the same set, one recording at a time. ``--sample`` draws as many
utterances of each set, the same for all recognizers and in every run. Size: parameters on disk, and
for ours in brackets what its chip stores.
"""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import wave

import numpy as np
from absl import flags

from benchmarks.recognizers_worker import KINDS
from rnnt_qat.infra.program import run

_MODELS = flags.DEFINE_list("models", ["data/pretrained/assistant"], "Directories of recognizers.")
_TEST = flags.DEFINE_list("test", ["asterisk_prompts:test"], "CORPUS:SPLIT, ... to decode.")
_DATA = flags.DEFINE_string("data_dir", "corpora", "Where corpora are prepared.")
_PEERS = flags.DEFINE_list("peers", [], "KIND=MODEL, ...; kinds are in recognizers_worker.py.")
_PYTHON = flags.DEFINE_string("peer_python", sys.executable, "Python of the peers' environment.")
_SAMPLE = flags.DEFINE_integer(
    "sample", None, "Decode as many utterances of each set, drawn with seed 0; all by default."
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file of all texts and figures.")

_PARAMETERS = {"moonshine": (".onnx",), "": ("variables.npz",)}


@dataclasses.dataclass(frozen=True)
class Recognized:
    """What a recognizer made of the recordings.

    Attributes:
      size: bytes of its parameters, as text.
      texts: recognized text by file name.
      cpu_s: processor seconds by file name.
    """

    size: str
    texts: dict[str, str]
    cpu_s: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Recording:
    """An utterance of a test set.

    Attributes:
      test_set: ``CORPUS:SPLIT``.
      id: its id in the corpus.
      text: reference transcript.
      seconds: duration.
    """

    test_set: str
    id: str
    text: str
    seconds: float


def write_recordings(folder: pathlib.Path) -> dict[str, Recording]:
    """Writes the test sets as WAV files; returns the recordings by file name."""
    from rnnt_qat.experiment.config import Split
    from rnnt_qat.input_pipeline.corpus import open_corpus

    found = {}
    for name in _TEST.value:
        split = Split.parse(name)
        corpus = open_corpus(_DATA.value, split.corpus, split.split)
        drawn = np.random.default_rng(0).permutation(len(corpus))[: _SAMPLE.value]
        for index in sorted(drawn.tolist()):
            utterance = corpus[index]
            key = f"{len(found):06d}"
            with wave.open(str(folder / f"{key}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16000)
                file.writeframes(utterance.audio.tobytes())
            seconds = len(utterance.audio) / 16000
            found[key] = Recording(name, utterance.id, corpus.texts[index], seconds)
    return found


def peer(kind: str, model: str, folder: pathlib.Path) -> Recognized:
    """Recognizes the files with a peer."""
    worker = pathlib.Path(__file__).with_name("recognizers_worker.py")
    command = [_PYTHON.value, str(worker), kind, model, str(folder)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [json.loads(line) for line in lines.splitlines()]
    size = size_bytes(kind, model)
    return Recognized(
        "-" if size is None else f"{size / 1e6:.1f} MB",
        {row["id"]: row["text"] for row in rows},
        {row["id"]: row["cpu_s"] for row in rows},
    )


def ours(model: pathlib.Path, folder: pathlib.Path) -> Recognized:
    """Recognizes the files with a model directory, one stream after the other."""
    from data.audio_stream import read_file
    from rnnt_qat.experiment.recognizer import Recognizer
    from rnnt_qat.experiment.recognizer_engine import RecognizerEngine
    from rnnt_qat.experiment.transcriber import LiveTranscriber
    from rnnt_qat.serving.size import model_bytes

    recognizer = Recognizer.load(model)
    config = recognizer.config
    engine = RecognizerEngine(recognizer, config.evaluation.search, 240.0)
    transcriber = LiveTranscriber(engine)

    def recognize(path: pathlib.Path) -> str:
        audio = read_file(path, transcriber.sample_rate_hz)
        return " ".join(word.text for part in transcriber.transcribe(audio) for word in part.words)

    paths = sorted(folder.glob("*.wav"))
    recognize(paths[0])  # compiles
    texts, cpu_s = {}, {}
    for path in paths:
        began = time.process_time()
        texts[path.stem] = recognize(path)
        cpu_s[path.stem] = time.process_time() - began
    on_chip = model_bytes(config.model, config.policy, config.frontend.feature_size)
    size = f"{(size_bytes('', str(model)) or 0) / 1e6:.1f} MB ({on_chip / 1e6:.1f} MB)"
    return Recognized(size, texts, cpu_s)


def comparable(text: str) -> str:
    """Normalizes a recognizer's text as transcripts are; numbers with several readings by digit."""
    from data.skips import SkipError
    from data.text import normalise

    for candidate in (text, re.sub(r"\d", r" \g<0> ", text), re.sub(r"[^a-zA-Z' ]", " ", text)):
        try:
            return normalise(candidate)
        except SkipError:
            continue
    return ""


def size_bytes(kind: str, model: str) -> int | None:
    """Returns the bytes of a recognizer's parameters on disk; None where its package holds them."""
    if not model:
        return None
    folder = pathlib.Path(model)
    suffixes = _PARAMETERS.get(kind, ("",))
    files = (f for f in folder.rglob("*") if f.is_file() and f.name.endswith(suffixes))
    return sum(f.stat().st_size for f in files)


def rows(found: dict[str, Recognized], recordings: dict[str, Recording]) -> list[str]:
    """Returns the lines of a Markdown table, one per test set and recognizer.

    Args:
      found: results by recognizer; the first one is the one that the others are compared with.
      recordings: the recordings by file name.
    """
    from rnnt_qat.metrics.bootstrap import error_rate_interval, paired_difference
    from rnnt_qat.metrics.wer import ErrorCounts, word_errors

    lines = []
    for test_set in dict.fromkeys(recording.test_set for recording in recordings.values()):
        keys = [key for key, recording in recordings.items() if recording.test_set == test_set]
        references = [recordings[key].text for key in keys]
        seconds = sum(recordings[key].seconds for key in keys)
        baseline = None
        for name, recognized in found.items():
            texts, cpu_s = recognized.texts, sum(recognized.cpu_s[key] for key in keys)
            counts = word_errors(references, [comparable(texts[key]) for key in keys])
            baseline = baseline or counts
            wer, total = error_rate_interval(counts), ErrorCounts.total(counts)
            change = paired_difference(baseline, counts).difference
            difference = (
                f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
            )
            lines.append(
                f"| {test_set}, {len(keys)} | {name} | {recognized.size} | "
                f"{wer.value:.1%} [{wer.low:.1%}, {wer.high:.1%}] | "
                f"{'' if counts is baseline else difference} | "
                f"{total.deletions / total.reference_length:.1%} | {cpu_s / seconds:.3f} |"
            )
    return lines


def main() -> None:
    """Prints a table and saves every text."""
    for entry in _PEERS.value:
        if entry.partition("=")[0] not in KINDS:
            raise flags.ValidationError(f"--peers={entry}: the kinds are {', '.join(KINDS)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        recordings = write_recordings(folder)
        found: dict[str, Recognized] = {}
        for model in _MODELS.value:
            found[model] = ours(pathlib.Path(model), folder)
        for entry in _PEERS.value:
            kind, _, model = entry.partition("=")
            found[kind] = peer(kind, model, folder)
    print("| test set, utterances | recognizer | size | WER | to the first | deletions | RTF |")
    print("|---|---|--:|---|---|--:|--:|", *rows(found, recordings), sep="\n")
    if _OUTPUT.value:
        record = {
            "recordings": {key: dataclasses.asdict(r) for key, r in recordings.items()},
            "recognizers": {name: dataclasses.asdict(r) for name, r in found.items()},
        }
        pathlib.Path(_OUTPUT.value).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
