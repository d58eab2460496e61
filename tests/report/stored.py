"""Folders of stored results, and a corpus's recordings, for tests of reports."""

import functools
import json
import pathlib

import numpy as np

from rnnt_qat.evaluation.report import write_report
from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.metrics.wer import character_errors, word_errors
from rnnt_qat.report.recordings import Recording

REFERENCES = ("the cat sat", "a dog ran past", "night </script><b>", "eight") * 3
GOOD = ("the cat sat", "a dog ran past", "light", "eight") * 3
BAD = ("the bat sat down", "dog past", "light", "eight") * 3


def result(system, hypotheses, test_set="made:test") -> EvaluationResult:
    words = word_errors(REFERENCES, hypotheses)
    characters = character_errors(REFERENCES, hypotheses)
    return EvaluationResult(
        test_set,
        system,
        "GreedyConfig()",
        240.0,
        40.0,
        tuple(
            UtteranceResult(
                id=f"utt/{i}",
                reference=REFERENCES[i],
                hypothesis=text,
                words=words[i],
                characters=characters[i],
                tokens=tuple(range(1, 1 + len(text))),
                pieces=tuple(text),
                emission_frames=tuple(range(2, 2 + len(text))),
                log_prob=-1.0,
                overflow=0,
                audio_s=0.5 + i,
            )
            for i, text in enumerate(hypotheses)
        ),
    )


def write_run(folder: pathlib.Path, **systems) -> pathlib.Path:
    """Writes a folder as `evaluate` does: results, provenance, curves and a diagnosis."""
    write_report(folder, [result(name, texts) for name, texts in systems.items()])
    command = ["evaluate.py", "--workdir=a b"]
    (folder / "provenance.json").write_text(json.dumps({"command": command, "commit": "c0ffee"}))
    facts = {"policy": "p", "stage": "float", "step": 3, "parameters": 10, "bytes": 4000}
    sizes = {name: facts | {"bytes": 4000 * (1 + i)} for i, name in enumerate(systems)}
    (folder / "systems.json").write_text(json.dumps(sizes))
    metrics = [
        {"step": 1, "stage": "float", "loss": 9.0},
        {"step": 2, "stage": "aware", "loss": 3.0, "made:validation/wer": 0.5},
    ]
    throughput = [{"step": 2, "stage": "aware", "audio_hours_per_hour": 80.0}]
    records = {"run": {"metrics": metrics, "throughput": throughput}}
    (folder / "curves.json").write_text(json.dumps(records))
    row = {
        "layer": "encoder/lstm_0", "tensor": "cell", "operator": "mul", "saturation_rate": 0.01,
        "clip_rate": 0.0, "table_end_rate": 0.0, "headroom_bits": None, "raised_bits": 0.0,
        "sqnr_db": 30.0, "bound": 8.0, "histogram": [0.0, 3.0, 1.0],
        "badness": [1, 0, 0, None, 0, 0.6],
    }  # fmt: skip
    good = {"tensor": "hidden", "histogram": [2.0, 2.0, 0.0], "badness": [0, 0, 0, None, 0, 0.1]}
    rows = [row, row | good]
    diagnosis = {"system": "bad", "histogram_bits": [-1.0, -0.5, 0.0], "rows": rows}
    (folder / "diagnosis-bad.json").write_text(json.dumps(diagnosis))
    return folder


@functools.cache
def recordings(test_set="made:test") -> dict[tuple[str, str], Recording]:
    import base64
    import io

    import soundfile

    found = {}
    for i in range(len(REFERENCES)):
        file = io.BytesIO()
        tone = np.sin(np.arange(8000) * 0.2 * (1 + i / 4)) * 0.3
        soundfile.write(file, tone, 16_000, format="OGG", subtype="VORBIS")
        audio = base64.b64encode(file.getvalue()).decode()
        found[test_set, f"utt/{i}"] = Recording(f"speaker {i % 2}", 10.0 * (i % 4), audio)
    return found
