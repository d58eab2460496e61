"""What the sweep's flags ask for."""

import dataclasses
import io
import sys
import types

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import sweep
from experiments.configs import prompts_smoke
from rnnt_qat.infra.console import Console
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.studies import chip_sweep
from rnnt_qat.studies.cells import Cell, Measurement
from rnnt_qat.studies.process_engine import Processes
from rnnt_qat.studies.ray_engine import RayError
from tests.studies.test_chip_sweep import CHIP, FLOAT, timed


@pytest.fixture(autouse=True)
def parsed():
    flags.FLAGS.mark_as_parsed()
    yield
    flags.FLAGS.unparse_flags()


@pytest.mark.parametrize("changes", ["", "+mse", "+mse+unit_slope"])
def test_a_policy_and_each_of_its_parts_with_the_same_changes(changes):
    parts = ["encoder", "prediction", "joint", "weights", "activations", "gates", "state"]
    if "unit_slope" in changes:
        parts = parts[:3]
    with flagsaver.flagsaver(ablate=f"ethos_u_8x8_16_w4{changes}"):
        names = sweep._policies()
    assert names == tuple(
        f"ethos_u_8x8_16_w4{part}{changes}" for part in ("", *(f"@{part}" for part in parts))
    )
    for name in names:
        assert policy_by_name(name).name == name


def test_an_unknown_policy_is_refused_with_those_there_are():
    for flag in ({"policies": "w9a9"}, {"ablate": "w9a9"}):
        with (
            flagsaver.flagsaver(**flag),
            pytest.raises(flags.ValidationError, match="'w9a9'; ready-made: float32, w8a8"),
        ):
            sweep._policies()


def test_choices_stand_for_all_combinations():
    with flagsaver.flagsaver(policies="w8a8, generic_nna{cell.bits=[16,8], gate.unit=hard}+mse"):
        assert sweep._policies() == (
            "w8a8",
            "generic_nna{gate.unit=hard, cell.bits=16}+mse",
            "generic_nna{gate.unit=hard, cell.bits=8}+mse",
        )


def test_one_or_the_other():
    with (
        flagsaver.flagsaver(ablate="w8a8", policies="w4a8"),
        pytest.raises(flags.ValidationError, match="not two of them"),
    ):
        sweep._policies()


def test_seeds_of_the_chip_are_numbers_and_each_is_named_once():
    assert sweep._chip_seeds() is None
    with flagsaver.flagsaver(chip_seeds=["2", "0"]):
        assert sweep._chip_seeds() == (2, 0)
    for wrong, message in ((["1", "x"], "whole numbers"), (["1", "1"], "each seed once")):
        with (
            flagsaver.flagsaver(chip_seeds=wrong),
            pytest.raises(flags.ValidationError, match=rf"--chip_seeds=.*{message}"),
        ):
            sweep._chip_seeds()


def test_jobs_are_processes_of_this_machine(tmp_path, monkeypatch):
    with flagsaver.flagsaver(jobs=2):
        assert isinstance(sweep._ENGINE(tmp_path), Processes)
        monkeypatch.setattr("jax.default_backend", lambda: "gpu")
        with pytest.raises(flags.ValidationError, match="share the gpu; --engine=ray"):
            sweep._ENGINE(tmp_path)
    with (
        flagsaver.flagsaver(jobs=2, engine="ray"),
        pytest.raises(flags.ValidationError, match="--jobs=2: it is for --engine=process"),
    ):
        sweep._ENGINE(tmp_path)


@pytest.mark.parametrize("given", [{"ray_address": "auto"}, {"ray_cpus": 4.0}, {"ray_gpus": 1.0}])
def test_what_is_for_ray_is_refused_without_it(tmp_path, given):
    ((name, _),) = given.items()
    with (
        flagsaver.flagsaver(**given),
        pytest.raises(flags.ValidationError, match=rf"--{name}=.* add --engine=ray"),
    ):
        sweep._ENGINE(tmp_path)


def test_how_ray_is_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        flagsaver.flagsaver(engine="ray"),
        pytest.raises(RayError, match=r"--engine=ray needs Ray .*pip install '\.\[cluster\]'"),
    ):
        sweep._ENGINE(tmp_path)


def test_what_is_swept_and_where(tmp_path):
    with flagsaver.flagsaver(models=["run/models/float"]):
        assert sweep._workdir() == "run/sweep"
    with flagsaver.flagsaver(models=[str(tmp_path / "run/models/float")]):
        assert sweep._workdir() == f"{tmp_path}/run/sweep"
    with flagsaver.flagsaver(models=["s3://bucket/models/float/"]):
        assert sweep._workdir() == "s3://bucket/sweep"
    with (
        flagsaver.flagsaver(models=["s3://bucket/float"]),
        pytest.raises(flags.ValidationError, match="give --workdir: s3://bucket/float"),
    ):
        sweep._workdir()
    with pytest.raises(flags.ValidationError, match="give --config or --models"):
        sweep._workdir()


def test_models_that_there_are_are_not_trained_again(tmp_path, monkeypatch):
    trained = []

    class Experiment:
        def __init__(self, config, data_dir, directory, console, **_):
            self._config, self._directory = config, directory

        def train(self, last_stage):
            trained.append((self._config.seed, last_stage))
            model = self._directory / "models" / last_stage
            model.mkdir(parents=True, exist_ok=True)
            (model / "recognizer.json").touch()

    monkeypatch.setattr(sweep, "Experiment", Experiment)
    monkeypatch.setattr(sweep, "experiment_config", lambda flag: prompts_smoke.experiment())
    (tmp_path / "seed_7/models/float").mkdir(parents=True)  # begun, never finished
    for seeds in (["0"], ["0", "7"]):
        with flagsaver.flagsaver(seeds=seeds):
            models = sweep._trained(str(tmp_path), tmp_path, Console(io.StringIO()))
    assert trained == [(0, "float"), (7, "float")]
    assert models == [f"{tmp_path}/seed_{seed}/models/float" for seed in (0, 7)]


def test_a_config_without_a_float_stage_is_refused(tmp_path, monkeypatch):
    """As of a plan that prunes and removes units: its float models have other names."""
    config = prompts_smoke.experiment()
    stages = tuple(
        dataclasses.replace(stage, name="prune") if stage.name == "float" else stage
        for stage in config.stages
    )
    config = dataclasses.replace(config, stages=stages)
    monkeypatch.setattr(sweep, "experiment_config", lambda flag: config)
    with (
        flagsaver.flagsaver(seeds=["0"]),
        pytest.raises(flags.ValidationError, match=r"its stage 'float', and this one has prune, "),
    ):
        sweep._trained(str(tmp_path), tmp_path, Console(io.StringIO()))


def test_export_is_refused_before_any_training_where_no_runtime_has_the_arithmetic():
    with (
        flagsaver.flagsaver(export=["u55-128"], policies="w8a8,generic_nna"),
        pytest.raises(flags.ValidationError, match=r"--policies=generic_nna: .*no chip to export"),
    ):
        sweep._targets()
    with (
        flagsaver.flagsaver(export=["u55"], policies="w8a8"),
        pytest.raises(flags.ValidationError, match="u55 is none of u55-128"),
    ):
        sweep._targets()
    with flagsaver.flagsaver(export=["u55-256"], policies="w8a8,ethos_u_8x8_16"):
        assert [target.name for target in sweep._targets()] == ["u55-256"]


def test_a_beam_is_measured_with_its_cost_and_reaches_every_table(tmp_path, monkeypatch):
    measured, compared, deployed = [], [], []
    report = tmp_path / "report/report.md"
    report.parent.mkdir()
    report.write_text("title\n\ncommand\n\n| system | WER |\n|---|---:|\n| (a) | 1 % |\n\nnotes")
    (report.parent / "latency.csv").touch()

    class Engine:
        def run(self, cells, console):
            for cell in cells:
                search = type(cell.evaluation.search).__name__
                measured.append((cell.policy, cell.into, search, cell.evaluation.timed_repeats))

    def measurements(cell):
        system = CHIP if cell.policy else FLOAT
        return [Measurement(system, (timed(system.name, 0.07 if "beam" in cell.into else 0.01),))]

    def write_comparison(folder, results, *_):
        compared.extend(results)
        return folder / "report.md"

    def deploy_sweep(*given):
        deployed.extend(given[-1])
        folder = tmp_path / "chip"
        folder.mkdir()
        for name in ("report.md", "latency.csv"):
            (folder / name).write_text(report.read_text())
        return folder / "report.md", True

    model = types.SimpleNamespace(config=prompts_smoke.experiment())
    monkeypatch.setattr(sweep.Recognizer, "load", lambda path: model)
    monkeypatch.setattr(Cell, "measurements", measurements)
    monkeypatch.setattr(sweep, "_ENGINE", lambda log_dir: Engine())
    monkeypatch.setattr(sweep, "write_comparison", write_comparison)
    monkeypatch.setattr(chip_sweep, "deploy_sweep", deploy_sweep)
    monkeypatch.setattr(sweep, "_page", lambda folder, *_: folder / "report.html")
    for name in ("set_up_jax", "save_curves"):
        monkeypatch.setattr(sweep, name, lambda *_: None)
    asked = {"models": ["a/models/float"], "policies": CHIP.policy, "workdir": str(tmp_path)}
    with flagsaver.flagsaver(**asked, beam=4, export=["u55-128"]):
        assert sweep.main() == 0
    assert measured == [
        (policy, *how)
        for how in (("results", "GreedyConfig", 3), ("results_beam_4", "BeamConfig", 3))
        for policy in (None, CHIP.policy)
    ]
    by_beam = [f"{system.name}, beam of 4" for system in (FLOAT, CHIP)]
    assert [result.system for result in deployed] == by_beam
    assert [result.system for result in compared] == [FLOAT.name, CHIP.name, *by_beam]
    grid = report.with_name("grid.md").read_text()
    assert "## set:test, beam of 4" in grid
    assert [f"| {factor} |" in grid for factor in (0.01, 0.07)] == [True, True]
