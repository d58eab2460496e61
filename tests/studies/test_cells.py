"""Finished cells are read again; others, and those of other keys, are computed."""

import dataclasses
import io
import json
import types
import uuid

import pytest

from experiments.configs import prompts_smoke
from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment.config import Split
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.lease import LEASE
from rnnt_qat.infra.remote_store import RemoteFolder, RemoteStoreError
from rnnt_qat.studies import cells
from rnnt_qat.studies.engine import InProcess
from rnnt_qat.studies.sweep import System
from tests.studies.test_sweep import REFERENCES, result

SPLITS = (Split("a", "test"), Split("b", "test"))


@pytest.fixture
def sweeping(tmp_path, monkeypatch):
    """Measures as the binary does; returns the measurements and which policies were computed."""
    model = tmp_path / "models/float"
    model.mkdir(parents=True)
    (model / "variables.npz").write_text("weights")
    computed, broken = [], []

    def sweep(model, config, data_dir, workdir, console, recipe):
        systems = {System("float32", "float", 4000): None}
        for policy in config.policies:
            if policy in broken:
                raise KeyboardInterrupt
            systems |= {System(policy, stage, 1000): None for stage in ("calibration", "aware")}
        computed.append(config.policies)
        return systems

    def compare(recognizers, splits, evaluation, data_dir, console):
        (name,) = recognizers
        return [dataclasses.replace(result(name, REFERENCES), test_set=s.name) for s in splits]

    monkeypatch.setattr(cells, "sweep", sweep)
    monkeypatch.setattr(cells, "compare_recognizers", compare)

    def run(
        policies=("w8a8", "generic_nna{cell.bits=8}"),
        steps=3,
        evaluation=None,
        recipe=None,
        into="results",
        work=None,
    ):
        computed.clear()
        console = Console(io.StringIO())
        first = cells.Cell(
            str(model),
            None,
            steps,
            SPLITS,
            evaluation or EvaluationConfig(),
            tmp_path,
            str(work or tmp_path / "work"),
            recipe,
            into,
        )
        asked = cells.cells_of(first, policies)
        InProcess().run(asked, console)
        measured = [each for cell in asked for each in cell.measurements()]
        return measured, list(computed)

    return types.SimpleNamespace(run=run, broken=broken, model=model, work=tmp_path / "work")


def as_it_is(model, folder):
    return cells.Cell(str(model), None, 3, SPLITS, EvaluationConfig(), folder, str(folder))


def test_finished_cells_are_not_computed_again(sweeping):
    first, computed = sweeping.run()
    assert computed == [(), ("w8a8",), ("generic_nna{cell.bits=8}",)]
    assert [each.system.stage for each in first] == ["float", *2 * ("calibration", "aware")]
    again, computed = sweeping.run()
    assert computed == []
    assert again == first
    assert [r.test_set for r in cells.results_of(again)] == 5 * ["a:test"] + 5 * ["b:test"]


def test_results_of_two_searches_lie_beside_each_other(sweeping):
    beam = {"evaluation": EvaluationConfig(BeamConfig(4)), "into": "results_beam_4"}
    for options in ({}, beam):
        assert sweeping.run(("w8a8",), **options)[1] == [(), ("w8a8",)]
    for options in ({}, beam):
        assert sweeping.run(("w8a8",), **options)[1] == []


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine"))
    return f"memory://{uuid.uuid4().hex}/sweep"


def test_cells_in_a_store_are_found_by_every_machine(sweeping, url, tmp_path, monkeypatch):
    here = sweeping.run()[0]
    sweeping.broken.append("generic_nna{cell.bits=8}")
    with pytest.raises(KeyboardInterrupt):
        sweeping.run(work=url)
    sweeping.broken.clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other machine"))
    measured, computed = sweeping.run(work=url)
    assert computed == [("generic_nna{cell.bits=8}",)]
    assert measured == here
    remote = RemoteFolder(url)
    assert not [name for name in remote.files() if name.endswith(LEASE)]
    # A cell without its manifest, or with a result that is another, is none.
    remote.delete(["w8a8/results/cell.json"])
    remote.write("float/results/float_0.json", b"{}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "third machine"))
    assert sweeping.run(work=url) == (here, [(), ("w8a8",)])
    (tmp_path / "run").mkdir()
    sweeping.run(work=tmp_path / "run")
    (tmp_path / "run/float/results/float_0.json").write_text("{}")
    assert sweeping.run(work=tmp_path / "run") == (here, [()])


def test_what_could_not_be_uploaded_is_not_computed_again_here(sweeping, url, monkeypatch):
    def fails(self, file, name):
        raise RemoteStoreError("the store is down")

    with monkeypatch.context() as patched:
        patched.setattr(RemoteFolder, "upload", fails)
        with pytest.raises(RemoteStoreError, match="the same command on this machine"):
            sweeping.run((), work=url)
    assert sweeping.run((), work=url)[1] == []


def test_a_models_place_may_be_a_store(sweeping, url):
    RemoteFolder(url).write("models/float/variables.npz", b"weights")
    cell = as_it_is(f"{url}/models/float", sweeping.work)
    assert cell._key == as_it_is(sweeping.model, sweeping.work)._key
    assert cell.name == f"{url}/models/float, float"


def test_records_of_training_runs_are_found_in_folders_and_stores(url, tmp_path):
    names = ("seed_0/metrics.jsonl", "model_0/w8a8/metrics.jsonl", "model_0/w8a8/throughput.jsonl")
    for name in (*names, "model_0/w4a8/results/cell.json", "model_0/w8a8/models/aware/x"):
        RemoteFolder(url).write(name, b"{}")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for place in (str(tmp_path), url):
        found = cells.training_runs(place)
        assert list(found) == ["seed_0", "model_0/w8a8"]
        assert (found["model_0/w8a8"] / "throughput.jsonl").exists()
    assert not (found["model_0/w8a8"] / "models").exists()
    remote = f"{url}/calibrated"
    RemoteFolder(remote).write("model_0/w8a8/results/cell.json", b"{}")
    assert cells.training_runs(remote) == {}


def test_an_interrupted_sweep_goes_on(sweeping):
    sweeping.broken.append("generic_nna{cell.bits=8}")
    with pytest.raises(KeyboardInterrupt):
        sweeping.run()
    sweeping.broken.clear()
    measured, computed = sweeping.run()
    assert computed == [("generic_nna{cell.bits=8}",)]
    assert len(measured) == 5


def test_results_that_another_machine_did_not_leave_here_are_missed(sweeping):
    sweeping.run(("w8a8",))
    (sweeping.work / "w8a8/results/cell.json").unlink()
    cell = as_it_is(sweeping.model, sweeping.work)
    cell = dataclasses.replace(cell, policy="w8a8")
    with pytest.raises(FileNotFoundError, match=r"w8a8/results has no results of .*, w8a8"):
        cell.measurements()


@pytest.mark.parametrize("change", ["steps", "evaluation", "recipe", "model", "half"])
def test_cells_of_something_else_are_computed(sweeping, change):
    sweeping.run(("w8a8",))
    options = {}
    if change == "steps":
        options = {"steps": 4}
    elif change == "evaluation":
        options = {"evaluation": EvaluationConfig(chunk_ms=(120.0,))}
    elif change == "recipe":
        options = {"recipe": prompts_smoke.experiment()}
    elif change == "model":
        (sweeping.model / "variables.npz").write_text("other weights")
    else:
        (sweeping.work / "w8a8/results/cell.json").unlink()
    _, computed = sweeping.run(("w8a8",), **options)
    assert ("w8a8",) in computed
    assert (() in computed) == (change in ("evaluation", "recipe", "model"))


def test_a_field_that_was_added_since_changes_no_cell(sweeping):
    recipe = prompts_smoke.experiment()
    sweeping.run(("w8a8",), recipe=recipe)
    manifest = sweeping.work / "w8a8/results/cell.json"
    stored = json.loads(manifest.read_text())
    del stored["key"]["recipe"]["pipeline"]["augmentation"]["half_band_probability"]
    del stored["key"]["evaluation"]["timed_repeats"]
    manifest.write_text(json.dumps(stored))
    assert sweeping.run(("w8a8",), recipe=recipe)[1] == []
    stored["key"]["recipe"]["pipeline"]["augmentation"]["of_another_time"] = 1
    manifest.write_text(json.dumps(stored))
    assert sweeping.run(("w8a8",), recipe=recipe)[1] == [("w8a8",)]


def test_each_seed_has_cells_of_its_own_and_the_float_model_one(sweeping):
    recipe = prompts_smoke.experiment()

    def of(seeds, models=(str(sweeping.model),)):
        template = as_it_is(sweeping.model, sweeping.work)
        return cells.cells_of_seeds(template, models, seeds, ("w8a8",), recipe)

    three = of([0, 1, 2])
    assert len({cells_of_seed[0] for cells_of_seed in three}) == 1
    assert [cell.recipe.seed for _, cell in three] == [0, 1, 2]
    folders = [cell.workdir.rpartition("/")[2] for _, cell in three]
    assert folders == ["model_0", "model_1", "model_2"]
    assert len({cell for cells_of_seed in three for cell in cells_of_seed}) == 4
    assert [cell.recipe for cell in of(None)[0]] == [None, None]
    two = of([4, 5], 2 * (str(sweeping.model),))
    assert [cell.workdir.rpartition("/")[2] for _, cell in two] == [f"model_{n}" for n in range(4)]
    assert two[0][0] != two[2][0]
