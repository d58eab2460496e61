"""What an experiment refuses before it writes anything, and what may differ from a given model."""

import dataclasses
import io

import jax
import numpy as np
import pytest

from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.run_files import WorkdirError
from rnnt_qat.experiment.runner import Experiment
from rnnt_qat.experiment.unit_pruning import UnitPruning
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.workdir_lock import WorkdirInUseError, locked
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.training.checkpoints import ConfigMismatchError
from rnnt_qat.training.pruning import MagnitudePruning
from tests.experiment.test_languages_and_rates import experiment


def test_a_second_run_of_a_directory_is_refused(tmp_path):
    ours = experiment(tmp_path)
    with locked(ours.workdir), pytest.raises(WorkdirInUseError, match="process"):
        ours.train()
    assert not (ours.workdir / "config.json").exists()


def test_what_would_train_random_weights_is_refused_and_claims_nothing(tmp_path):
    ours = experiment(tmp_path)
    stages = tuple(
        dataclasses.replace(stage, steps=0) if stage.name == "float" else stage
        for stage in ours.config.stages
    )
    config = dataclasses.replace(ours.config, stages=stages)
    with pytest.raises(ConfigError, match="initialize_from"):
        Experiment(config, tmp_path, ours.workdir).train()
    assert not ours.workdir.exists()


LATER = UnitPruning(ramp_steps=1, every=1, pattern="encoder/lstm_7")
"""Fits no layer; in the last stage, so that a run would come to it after hours."""


@pytest.mark.parametrize("hook", [LATER, MagnitudePruning(ramp_steps=1, pattern="encoder/lstm_7")])
def test_a_hook_that_fits_nothing_is_refused_before_the_first_stage(hook, tmp_path):
    ours = experiment(tmp_path)
    *before, aware = ours.config.stages
    stages = (*before, dataclasses.replace(aware, hooks=(hook,)))
    config = dataclasses.replace(ours.config, stages=stages)
    message = (
        r"stages\.aware: hook 'pruning': pattern 'encoder/lstm_7' matches no .* encoder/lstm_0"
    )
    for begin in (Experiment.train, lambda run: run.rehearse(1.0)):
        with pytest.raises(ConfigError, match=message):
            begin(Experiment(config, tmp_path, ours.workdir))
    assert not (ours.workdir / "config.json").exists()


def test_damaged_files_of_a_run_are_named(tmp_path):
    ours = experiment(tmp_path)
    (ours.workdir / "checkpoints/0_float/10").mkdir(parents=True)
    (ours.workdir / "config.json").write_text('{"seed": 0')
    with pytest.raises(WorkdirError, match=r"work/config\.json is damaged .*: delete it"):
        ours.train()
    (ours.workdir / "feature_stats.json").write_text("{}")
    with pytest.raises(WorkdirError, match=r"work/feature_stats\.json is damaged .*: copy it from"):
        _ = ours.frontend


def test_time_is_not_measured_for_batches_of_a_size_yet_to_be_chosen(tmp_path):
    ours = experiment(tmp_path)
    pipeline = dataclasses.replace(ours.config.pipeline, memory_bytes=10**9)
    config = dataclasses.replace(ours.config, pipeline=pipeline)
    with pytest.raises(ConfigError, match=r"pipeline\.memory_bytes=1000000000: .*set it to 0"):
        Experiment(config, tmp_path, ours.workdir).rehearse(1.0)


def saved(config, directory):
    """A model of zeros."""
    inputs = example_inputs(config.model, config.frontend.feature_size)
    shapes = jax.eval_shape(RNNT(config.model, FLOAT32).init, jax.random.key(0), *inputs)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), dict(shapes))
    bins = config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.zeros(bins, np.float32), np.ones(bins, np.float32))
    Recognizer(
        config,
        FLOAT32,
        {"quant_stats": {}, **zeros},
        Frontend(config.frontend, stats),
        CharacterTokenizer(),
    ).save(directory)
    return str(directory)


def test_only_what_shapes_parameters_must_be_that_of_the_given_model(tmp_path):
    ours = experiment(tmp_path)
    config = dataclasses.replace(ours.config, initialize_from=saved(ours.config, tmp_path / "m"))

    def start(**encoder):
        model = config.model
        model = dataclasses.replace(model, encoder=dataclasses.replace(model.encoder, **encoder))
        console = Console(io.StringIO())
        changed = dataclasses.replace(config, model=model)
        recognizer = Experiment(changed, tmp_path, ours.workdir, console).initial_recognizer
        return recognizer, console._stream.getvalue()

    before = config.model.encoder.dropout_rate
    recognizer, said = start(dropout_rate=before + 0.25)
    assert recognizer is not None
    line = f"model.encoder.dropout_rate: {before} before, {before + 0.25} now"
    assert f"{line}; no parameter's shape changes" in said
    with pytest.raises(ConfigMismatchError, match=r"hidden_size: 32 before, 40 now"):
        start(hidden_size=40)
    other = dataclasses.replace(config.frontend, stack=config.frontend.stack + 1)
    with pytest.raises(ConfigMismatchError, match=r"other features:\n  frontend\.stack: "):
        _ = Experiment(
            dataclasses.replace(config, frontend=other), tmp_path, ours.workdir
        ).initial_recognizer
