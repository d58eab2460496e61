"""From a sweep's measurements to the report of a chip."""

import dataclasses
import io
import types

import pytest

from rnnt_qat.experiment.config import Split
from rnnt_qat.infra.console import Console
from rnnt_qat.latency.targets import U55_128, U55_256
from rnnt_qat.metrics.latency import RealTimeFactor
from rnnt_qat.studies import chip_sweep, finished_export
from rnnt_qat.studies.cells import Measurement
from rnnt_qat.studies.chip_comparison import ChipComparison
from rnnt_qat.studies.comparison import name_with_beam
from rnnt_qat.studies.sweep import System
from rnnt_qat.verify.verification import Agreement, Verification
from tests.studies.test_sweep import REFERENCES, result

FLOAT, CHIP = System("float32", "float", 4000), System("ethos_u_8x8_16", "aware", 1000)


def timed(system, factor):
    found = result(system, REFERENCES)
    speed = RealTimeFactor(factor, factor, factor, 1.0, 3)
    return dataclasses.replace(found, test_set="set:test", real_time_factor=speed)


@pytest.fixture
def workdir(tmp_path):
    """Two models, and a corpus of one split."""
    for name in ("float", "swept/ethos_u_8x8_16/models/aware"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "variables.npz").write_bytes(name.encode())
    corpus = tmp_path / "set/1.0.0"
    corpus.mkdir(parents=True)
    row = '{"id": "a", "speaker": "s", "text": "one", "num_samples": 9}'
    (corpus / "index-test.jsonl").write_text(row)
    (corpus / "set-test.array_record-00000-of-00001").write_bytes(b"audio")
    (corpus / "set-train.array_record-00000-of-00001").write_bytes(b"other audio")
    (corpus / "features.json").touch()
    return tmp_path


@pytest.fixture
def deploy(workdir, monkeypatch):
    """Deploys the two models; returns the report, the verdict, and how many exports ran so far."""
    recognizer = types.SimpleNamespace(variables={"params": {}})
    monkeypatch.setattr(chip_sweep.Recognizer, "load", lambda path: recognizer)
    exports = []

    def compare_on_chips(systems, config, data_dir, output, console, results):
        (output / "artefact").mkdir(parents=True)
        (output / "artefact/arrays.npz").write_bytes(b"integers")
        exports.append(config)
        agreement = Agreement("LiteRT", 1, 1, 1, differing_tokens=deploy.differing)
        return ChipComparison(list(results), {"x": Verification((agreement,), {}, None)}, [], {})

    def deploy(by_beam=(), errors=REFERENCES, targets=(U55_128,)):
        measured = [
            Measurement(system, (dataclasses.replace(timed(system.name, 0.01), **changed),))
            for system, changed in ((FLOAT, {}), (CHIP, {"utterances": _heard(errors)}))
        ]
        report, exact = chip_sweep.deploy_sweep(
            measured,
            workdir / "float",
            workdir / "swept",
            [Split("set", "test")],
            targets,
            workdir,
            workdir / "chip",
            Console(io.StringIO()),
            "command",
            by_beam,
        )
        return report, exact, len(exports)

    deploy.differing = 0
    monkeypatch.setattr(chip_sweep, "compare_on_chips", compare_on_chips)
    return deploy


def _heard(hypotheses):
    return result("", hypotheses).utterances


def test_the_report_has_both_searches_and_what_they_cost(deploy):
    wider = timed(name_with_beam(CHIP.name, 4), 0.07)
    elsewhere = dataclasses.replace(wider, chunk_ms=80.0, system="at another chunk")
    report, exact, _ = deploy([wider, elsewhere])
    assert exact
    headline = report.read_text().split("\n\n")[2].splitlines()
    assert headline[0].endswith("| real-time factor |")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in headline[2:]]
    assert [(row[1], row[-1]) for row in cells] == [
        ("(a) float32", "0.01"),
        ("(d) ethos_u_8x8_16, trained", "0.01"),
        ("(d) ethos_u_8x8_16, trained, beam of 4", "0.07"),
    ]


def test_an_export_of_the_same_inputs_is_not_made_again(deploy):
    report, *_ = deploy()
    content = report.read_text()
    assert deploy() == (report, True, 1)
    assert report.read_text() == content


CHANGES = {
    "a model": ("swept/ethos_u_8x8_16/models/aware/variables.npz", b"trained longer"),
    "the float model": ("float/tokenizer.json", b"{}"),
    "the test set": ("set/1.0.0/set-test.array_record-00000-of-00001", b"other audio"),
    "an exported file": ("chip/artefact/arrays.npz", b"damaged"),
    "the manifest": ("chip/finished.json", b"{"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_export_is_made_again_if_a_file_changed(what, deploy, workdir):
    deploy()
    path, content = CHANGES[what]
    (workdir / path).write_bytes(content)
    (workdir / "chip/stale").touch()
    _, exact, exports = deploy()
    assert (exact, exports) == (True, 2)
    assert not (workdir / "chip/stale").exists()
    assert deploy()[-1] == 2


def test_an_export_is_made_again_for_other_options_errors_or_versions(deploy, monkeypatch):
    deploy()
    assert deploy(targets=(U55_256,))[-1] == 2
    assert deploy(errors=("one two", "free", "four"))[-1] == 3
    monkeypatch.setattr(finished_export, "package_versions", lambda: {"ethos-u-vela": "9"})
    assert deploy()[-1] == 4
    monkeypatch.setattr(finished_export, "_library", lambda: "another")
    assert [deploy()[-1], deploy()[-1]] == [5, 5]


def test_an_export_goes_on_from_training_that_changed_other_splits_only(deploy, workdir):
    deploy()
    (workdir / "set/1.0.0/set-train.array_record-00000-of-00001").write_bytes(b"more")
    assert deploy()[-1] == 1


def test_a_replay_that_differs_is_looked_at_again(deploy):
    deploy.differing = 1
    assert deploy()[1:] == (False, 1)
    assert deploy()[1:] == (False, 2)
    deploy.differing = 0
    assert deploy()[1:] == (True, 3)
