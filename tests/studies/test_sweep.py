import csv
import dataclasses
import io
import pathlib
import types

import pytest

from experiments.configs import on_chip, prompts_smoke
from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.experiment.remote_paths import OpenWorkdir
from rnnt_qat.experiment.unit_pruning import UnitPruning
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.infra.console import Console
from rnnt_qat.metrics.latency import RealTimeFactor
from rnnt_qat.metrics.wer import character_errors, word_errors
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.studies import sweep as sweep_module
from rnnt_qat.studies.grid import grid_rows, markdown_grid, pool, write_csv
from rnnt_qat.studies.sweep import SweepConfig, System, require_one_config, sweep
from rnnt_qat.training.checkpoints import ConfigMismatchError
from rnnt_qat.training.stages import Calibration, RemoveUnits, TrainingStage

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


SYSTEMS = [
    System("float32", "float", 4000),
    System("w8a8", "calibration", 1100),
    System("w8a8", "aware", 1100),
]
RUNS = [
    [
        result(SYSTEMS[0].name, REFERENCES),
        result(SYSTEMS[1].name, ("one two", "free", "four five six")),
        result(SYSTEMS[2].name, REFERENCES),
    ],
    [
        result(SYSTEMS[0].name, REFERENCES),
        result(SYSTEMS[1].name, ("one", "free", "four five")),
        result(SYSTEMS[2].name, ("one two", "free", "four five six")),
    ],
]


def test_pooled_errors_add_up_by_utterance():
    base, quantized, _ = pool(RUNS)
    assert base.wer.value == 0
    assert quantized.wer.value == (1 + 3) / 12
    assert [u.words.errors for u in quantized.utterances] == [1, 2, 1]
    assert quantized.words.deletions == 2
    assert len(quantized.utterances) == 3


def test_letters_of_the_papers_grid():
    stages = {
        "(a) float32": ("float32", "float"),
        "float32, trained": ("float32", "aware"),
        "(b) generic_nna_w4, calibrated": ("generic_nna_w4", "calibration"),
        "w4a8, calibrated": ("w4a8", "calibration"),
        "(c) w4a8, trained": ("w4a8", "aware"),
        "(d) generic_nna, trained": ("generic_nna", "aware"),
        "generic_nna@joint, trained": ("generic_nna@joint", "aware"),
    }
    assert list(stages) == [System(*stage, 0).name for stage in stages.values()]


@pytest.mark.parametrize(
    ("low", "high", "bold"),
    [(0.01, 0.03, True), (-0.03, -0.01, True), (-0.01, 0.03, False), (0.0, 0.03, False)],
)
def test_only_differences_whose_interval_leaves_out_zero_are_bold(low, high, bold):
    rows = grid_rows(RUNS, SYSTEMS)
    rows[1] |= {"difference": 0.02, "difference_low": low, "difference_high": high}
    cell = markdown_grid(rows).splitlines()[3].split("|")[4]
    assert ("**" in cell) == bold


def test_nothing_is_won_back_from_a_loss_that_may_be_none():
    """One utterance of three lost a word: resampled, the loss is sometimes zero."""
    run = [RUNS[1][0], RUNS[1][2], RUNS[1][0]]
    run = [dataclasses.replace(r, system=s.name) for r, s in zip(run, SYSTEMS, strict=True)]
    rows = grid_rows([run], SYSTEMS)
    assert rows[1]["difference"] > 0 == rows[1]["difference_low"]
    assert rows[2]["won_back"] is None


def test_grid(tmp_path):
    rows = grid_rows(RUNS, SYSTEMS)
    write_csv(tmp_path / "grid.csv", rows)
    read = list(csv.DictReader((tmp_path / "grid.csv").open()))
    assert [row["system"] for row in read] == [
        "(a) float32",
        "w8a8, calibrated",
        "(c) w8a8, trained",
    ]
    assert read[0]["difference"] == read[0]["won_back"] == ""
    assert float(read[1]["difference"]) == float(read[1]["wer"]) == 4 / 12
    assert [float(read[1][f"wer_model_{n}"]) for n in (0, 1)] == [1 / 6, 3 / 6]
    assert float(read[1]["deletion_rate"]) == 2 / 12
    assert read[0]["gain"] == read[1]["gain"] == ""
    assert float(read[2]["gain"]) == 1 / 12 - 4 / 12
    assert float(read[2]["gain_low"]) <= 1 / 12 - 4 / 12 <= float(read[2]["gain_high"])
    assert float(read[2]["won_back"]) == 1 - (1 / 12) / (4 / 12)  # the loss leaves out zero
    table = markdown_grid(rows).splitlines()
    assert len(table) == 5
    assert "| w8a8, calibrated | 1 kB | 33.33 % [" in table[3]
    assert table[4].endswith("| 75 % | 0.00, 16.67 |")
    assert "real-time factor" not in table[0]


def test_what_is_left_is_counted_from_the_same_steps_in_floating_point():
    float_trained = System("float32", "aware", 4000)
    hypotheses = ("one", "three", "four five six"), REFERENCES  # one error of twelve words
    runs = [
        [*run, result(float_trained.name, said)] for run, said in zip(RUNS, hypotheses, strict=True)
    ]
    rows = grid_rows(runs, [*SYSTEMS, float_trained])
    assert [row["left"] for row in rows] == [None, None, 0.0, None]
    assert rows[2]["left_low"] < 0 < rows[2]["left_high"]
    assert rows[2]["difference"] == 1 / 12
    assert rows[2]["won_back"] == 1
    table = markdown_grid(rows).splitlines()
    assert table[0].endswith("| trained - float, trained | WER of each model |")
    assert "| 100 % | +0.00 [" in table[4]


def test_what_a_search_costs_stands_beside_its_errors():
    speed = RealTimeFactor(0.034, 0.03, 0.04, 60.0, 3)
    runs = [[dataclasses.replace(r, real_time_factor=speed) for r in run] for run in RUNS]
    table = markdown_grid(grid_rows(runs, SYSTEMS)).splitlines()
    columns = [[cell.strip() for cell in line.split("|")] for line in table]
    assert [line[-3] for line in columns if "---" not in line[1]] == [
        "real-time factor",
        *["0.034"] * 3,
    ]


def test_models_that_are_no_seeds_of_one_config_are_not_pooled():
    config = prompts_smoke.experiment()
    models = {
        "a": config,
        "b": dataclasses.replace(config, seed=1, initialize_from="elsewhere"),
    }
    require_one_config({name: types.SimpleNamespace(config=c) for name, c in models.items()})
    models["c"] = dataclasses.replace(
        config, pipeline=dataclasses.replace(config.pipeline, num_buckets=3)
    )
    with pytest.raises(ConfigMismatchError, match=r"(?s)a and c .*pipeline\.num_buckets: 2 before"):
        require_one_config({name: types.SimpleNamespace(config=c) for name, c in models.items()})


@pytest.mark.parametrize("recipe", [None, on_chip.experiment()])
def test_a_model_is_trained_by_its_own_recipe_or_by_the_one_given(recipe, monkeypatch):
    own = prompts_smoke.experiment()
    asked = []

    class Experiment:
        def __init__(self, config, *_, **__):
            asked.append(config)

        def train(self):
            return {}

    base = types.SimpleNamespace(policy=FLOAT32, config=own)
    monkeypatch.setattr(sweep_module.Recognizer, "load", lambda directory: base)
    monkeypatch.setattr(sweep_module, "Experiment", Experiment)
    folder = pathlib.Path("model")
    workdir = OpenWorkdir(folder, "model")
    sweep("model", SweepConfig(("w8a8",)), folder, workdir, Console(io.StringIO()), recipe)
    (config,) = asked
    followed = own if recipe is None else recipe
    assert (config.model, config.frontend) == (own.model, own.frontend)
    assert (config.data, config.pipeline) == (followed.data, followed.pipeline)
    assert config.stage("aware") == followed.stage("aware")
    assert config.stage("float").steps == 0
    assert config.initialize_from == str(folder.absolute())


HOOK = UnitPruning(final_sparsity=0.5, ramp_steps=3, every=1)
PRUNE = TrainingStage("prune", 6, "float32", hooks=(HOOK,))
RECOVER = TrainingStage("recover", 2, "float32")


@pytest.mark.parametrize(
    ("stages", "left"),
    [
        ((PRUNE, RemoveUnits(), Calibration(batches=1)), ["remove_units", "calibration"]),
        ((Calibration(batches=1), PRUNE, RemoveUnits(), RECOVER), ["calibration"]),
        ((PRUNE, RemoveUnits(), Calibration(batches=1), RECOVER), ["remove_units", "calibration"]),
    ],
)
def test_a_model_with_removed_units_is_swept_by_what_is_left_of_its_plan(stages, left):
    config = dataclasses.replace(prompts_smoke.experiment(), stages=stages)
    swept = sweep_module._without_float(config, "model", "generic_nna", None)
    assert [s.name for s in swept.stages if s.steps or s.name == "remove_units"] == left
    assert sum(isinstance(s, TrainingStage) for s in swept.stages) == sum(
        isinstance(s, TrainingStage) for s in stages
    )


def test_a_plan_of_which_a_sweep_leaves_nothing_is_refused():
    stages = (PRUNE, RemoveUnits(), RECOVER)
    config = dataclasses.replace(prompts_smoke.experiment(), stages=stages)
    with pytest.raises(ConfigError, match=r"model: no stage of its plan .* --config="):
        sweep_module._without_float(config, "model", "generic_nna", None)


def test_fewer_aware_steps_than_a_pruning_needs_are_refused_by_the_flag():
    aware = dataclasses.replace(PRUNE, name="aware", precision="")
    stages = (Calibration(batches=1), aware)
    config = dataclasses.replace(prompts_smoke.experiment(), stages=stages)
    with pytest.raises(ConfigError, match=r"--aware_steps=2: .*final sparsity at step 3"):
        sweep_module._without_float(config, "model", "generic_nna", 2)
