import io
import pathlib
import types

import numpy as np
import pytest

from experiments.configs import prompts_smoke
from rnnt_qat.evaluation import plots
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment import test_sets
from rnnt_qat.experiment.config import Split
from rnnt_qat.infra.console import Console
from rnnt_qat.quant.audit import OffChip
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
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
    monkeypatch.setattr(test_sets, "open_corpus", lambda _, corpus, split: range(SIZES[corpus]))
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


@pytest.mark.parametrize(("policy", "told"), [("float32", False), ("w8a8", True)])
def test_only_a_model_with_a_chip_is_told_what_stays_on_the_cpu(policy, told, monkeypatch):
    monkeypatch.setattr(test_sets, "open_corpus", lambda _, corpus, split: range(SIZES[corpus]))
    recognizer = Recognizer(("one two", "three", "four five six"))
    recognizer.audit = lambda: (OffChip("joint", "tanh", "tanh", "float32", on_cpu=True),) * 24
    recognizer.policy = policy_by_name(policy)
    said = io.StringIO()
    comparison.compare_recognizers(
        {"m": recognizer}, SPLITS, EvaluationConfig(), pathlib.Path(), Console(said)
    )
    assert ("m  24 operators in 1 places stay on the CPU" in said.getvalue()) == told


def test_the_report_names_policies_and_sizes_and_links_what_belongs_to_it(tmp_path, monkeypatch):
    for plot in ("plot_wer_bars", "plot_emissions"):
        monkeypatch.setattr(plots, plot, lambda *arguments: None)

    class Corpus(tuple):
        ids = ("0", "1", "2")

    corpus = Corpus([types.SimpleNamespace(audio=np.zeros(4, np.int16))] * 3)
    monkeypatch.setattr(comparison, "open_corpus", lambda *arguments: corpus)
    config = prompts_smoke.experiment()

    def recognizer(policy):
        variables = {"params": {"kernel": np.zeros((3, 5))}}
        origin = {"stage": "aware", "step": 12}
        return types.SimpleNamespace(
            config=config, policy=policy, variables=variables, origin=origin
        )

    systems = {"float": recognizer(FLOAT32), "chip": recognizer(policy_by_name("ethos_u_8x8_16"))}
    results = [result(name, ("one two", "three", "four five six")) for name in systems]
    report = comparison.write_comparison(
        tmp_path,
        results,
        tmp_path,
        systems["float"],
        systems=systems,
        links={"What the arithmetic does": "diagnosis-chip.md"},
    ).read_text()
    rows = {
        cells[0]: cells[1:]
        for line in report.splitlines()
        if line.startswith("| ")
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
        if len(cells) == 5
    }
    assert rows["chip"][:3] == ["`ethos_u_8x8_16`", "aware, 12", "15"]
    sizes = {name: float(rows[name][3].removesuffix(" kB").replace(",", "")) for name in systems}
    assert sizes["float"] > 3 * sizes["chip"] > 0
    assert "[What the arithmetic does](diagnosis-chip.md)" in report
