import csv
import dataclasses

from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.metrics.wer import character_errors, word_errors
from rnnt_qat.sweep import pool, write_table

REFERENCES = ("one two", "three", "four five six")


def result(system, hypotheses):
    words = word_errors(REFERENCES, hypotheses)
    characters = character_errors(REFERENCES, hypotheses)
    fields = {f.name for f in dataclasses.fields(UtteranceResult)}
    rest = {"tokens": (), "pieces": (), "emission_frames": (), "log_prob": 0.0}
    utterances = [
        UtteranceResult(
            id=str(i),
            reference=REFERENCES[i],
            hypothesis=hypotheses[i],
            words=words[i],
            characters=characters[i],
            overflow=0,
            audio_s=1.0,
            **{name: value for name, value in rest.items() if name in fields},
        )
        for i in range(3)
    ]
    return EvaluationResult("set", system, "greedy", 240.0, 40.0, tuple(utterances))


RUNS = [
    [result("float32", REFERENCES), result("w8a8", ("one two", "free", "four five six"))],
    [result("float32", REFERENCES), result("w8a8", ("one", "free", "four five"))],
]


def test_pooled_errors_add_up_by_utterance():
    base, quantized = pool(RUNS)
    assert base.wer.value == 0
    assert quantized.wer.value == (1 + 3) / 12
    assert [u.words.errors for u in quantized.utterances] == [1, 2, 1]
    assert quantized.words.deletions == 2
    assert len(quantized.utterances) == 3


def test_table(tmp_path):
    write_table(tmp_path / "table.csv", RUNS)
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [row["system"] for row in rows] == ["float32", "w8a8"]
    assert rows[0]["difference"] == ""
    assert float(rows[1]["difference"]) == float(rows[1]["wer"]) == 4 / 12
    assert [float(rows[1][f"wer_model_{n}"]) for n in (0, 1)] == [1 / 6, 3 / 6]
