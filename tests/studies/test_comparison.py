import io
import pathlib
import types

from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment.config import Split
from rnnt_qat.infra.console import Console
from rnnt_qat.studies import comparison
from tests.studies.test_sweep import result

SPLITS = (Split("a", "test"), Split("b", "test"))
SIZES = {"a": 1, "b": 2}


class Recognizer:
    """Decodes all test sets in one pass, at two chunk sizes."""

    variables = None

    def __init__(self, hypotheses):
        self._hypotheses = hypotheses

    def audit(self):
        return ()

    def evaluator(self, splits, evaluation, data_dir):
        assert tuple(splits) == SPLITS

        def evaluate(variables, name, progress) -> list[EvaluationResult]:
            return [result(name, self._hypotheses)] * 2

        return types.SimpleNamespace(evaluate=evaluate)


def test_one_pass_over_all_test_sets_is_told_apart_again(monkeypatch):
    monkeypatch.setattr(comparison, "open_corpus", lambda _, corpus, split: range(SIZES[corpus]))
    recognizers = {
        "good": Recognizer(("one two", "three", "four five six")),
        "bad": Recognizer(("one too", "three", "four six")),
    }
    results = comparison.compare_recognizers(
        recognizers, SPLITS, EvaluationConfig(), pathlib.Path(), Console(io.StringIO())
    )
    found = [(r.test_set, r.system, [u.id for u in r.utterances], r.words.errors) for r in results]
    assert found == [
        (test_set, system, ids, errors)
        for test_set, ids, wrong in (("a:test", ["0"], 1), ("b:test", ["1", "2"], 1))
        for system, errors in (("good", 0), ("bad", wrong))
        for _ in range(2)
    ]
