"""Trained ranges on their whole way: calibrated, trained with the network, resumed, served."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from rnnt_qat.batch import Batch
from rnnt_qat.experiment.task import RecognizerTask
from rnnt_qat.export.freeze import freeze as freeze_for_export
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.mesh import make_mesh, to_host
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.objectives import Transducer
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.scales import range_to_scale
from rnnt_qat.quant.sites import Role
from rnnt_qat.serving.audit import audit
from rnnt_qat.serving.freeze import freeze
from rnnt_qat.training.checkpoints import CheckpointConfig
from rnnt_qat.training.loop import LoopConfig, Trainer
from rnnt_qat.training.objective import WeightedObjective
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.plan import bind
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.update import Frozen
from tests.integration.test_serving_equals_training import (
    BATCH,
    CONFIG,
    FEATURES,
    FRAMES,
    LABELS,
)

STEPS = 12
LEARNING_RATES = {"generic_nna_w4+tqt": 4e-3, "ethos_u_8x8_16_w4+lsq": 2e-2}
"""A threshold may move by a fifth of an octave a step."""


class BadStart(RecognizerTask):
    """Trains from ranges four times as wide as calibrated: two bits of every format are lost."""

    def under(self, precision):
        model = super().under(precision)
        trainable = type(model).trainable

        def widened(params, quant_stats):
            return trainable(model, params, jax.tree.map(lambda r: 4 * r, quant_stats))

        model.trainable = widened
        return model


def task(name):
    bins = np.zeros(FEATURES, np.float32)
    return BadStart(
        CONFIG,
        policy_by_name(name),
        Frontend(
            FrontendConfig(LogMelConfig(num_mel_bins=FEATURES), stack=1),
            FeatureStats(bins, bins + 1),
        ),
        SpecAugmentConfig(freq_masks=0, freq_mask_bins=0, max_time_masks=0),
        (WeightedObjective("transducer", Transducer()),),
    )


class Batches:
    """One batch over and over; fails when asked for one past ``last``."""

    def __init__(self, last=1 << 30):
        self._last, self._position = last, 0
        rng = np.random.default_rng(0)
        self.batch = Batch(
            features=rng.normal(size=(BATCH, FRAMES, FEATURES)).astype(np.float32),
            feature_lengths=np.full(BATCH, FRAMES, np.int32),
            labels=rng.integers(1, CONFIG.vocabulary, (BATCH, LABELS)).astype(np.int32),
            label_lengths=np.full(BATCH, LABELS, np.int32),
            utterance_index=np.arange(BATCH, dtype=np.int32),
        )

    def __iter__(self):
        return self

    def __next__(self):
        if self._position >= self._last:
            raise InterruptedError
        self._position += 1
        return self.batch

    def state(self):
        return self._position

    def restore(self, state):
        self._position = state


def train(name, workdir, iterator):
    recognizer = task(name)
    optimizer = OptimizerConfig(learning_rate=LEARNING_RATES[name], warmup_steps=1, ema_decay=0.5)
    plan = (Calibration(batches=1), TrainingStage("aware", STEPS, optimizer=optimizer))
    trainer = Trainer(
        bind(plan, recognizer),
        lambda: TrainState.create(recognizer.initial_params(jax.random.key(0)), {}, 0),
        iterator,
        workdir,
        {"policy": name},
        LoopConfig(log_every=2, checkpoint=CheckpointConfig(every=4)),
        make_mesh(),
        Console(io.StringIO(), period_seconds=1e9),
    )
    return to_host(trainer.run())


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.exhaustive) for name in LEARNING_RATES],
)
def trained(request, tmp_path_factory):
    """A policy's name, the working directory and the last state of its run."""
    workdir = tmp_path_factory.mktemp("run")
    return request.param, workdir, train(request.param, workdir, Batches())


def run(model, variables, features, labels):
    """Integers of every part of the model, joint logits of all pairs included."""
    mask = jnp.ones(features.shape[:2], bool)
    encoded, _, encoder_state = model.apply(variables, features, mask, method=RNNT.encode)
    label_mask = jnp.ones(labels.shape, bool)
    predicted, state = model.apply(variables, labels, label_mask, method=RNNT.predict)
    logits = model.apply(variables, method=RNNT.head).logits(
        encoded[:, :, None], predicted[:, None]
    )
    return encoded, encoder_state, predicted, state, logits.values


def loss(recognizer, params, quant_stats):
    of_batch = jax.jit(recognizer.under("").loss(recognizer.objectives))
    rows = of_batch(params, Frozen(quant_stats), Batches().batch, 0, jax.random.key(0))
    return float(rows.loss.sum())


@pytest.mark.slow
def test_ranges_are_learned(trained):
    name, _, state = trained
    recognizer = task(name)
    params = recognizer.initial_params(jax.random.key(0))
    first = recognizer.under("").trainable(params, state.quant_stats)
    old, new = (flatten_dict(p.ranges) for p in (first, state.params))
    moved = {path for path in old if old[path] != new[path]}
    assert {path for path in old if path[-1].endswith("kernel")} <= moved
    assert {("encoder", "lstm_0", "input"), ("prediction", "lstm_0", "input")} <= moved
    assert loss(recognizer, state.ema_params, state.quant_stats) < loss(
        recognizer, first, state.quant_stats
    )


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_bits(trained, tmp_path):
    name, _, whole = trained
    with pytest.raises(InterruptedError):
        train(name, tmp_path, Batches(last=1 + STEPS // 2))
    resumed = train(name, tmp_path, Batches())
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


@pytest.mark.slow
def test_the_trained_ranges_are_served(trained):
    name, _, state = trained
    recognizer, batch = task(name).under(""), Batches().batch
    policy = policy_by_name(name)
    model = RNNT(CONFIG, policy)
    variables = to_host(recognizer.variables(state.ema_params, state.quant_stats))
    served = freeze(model, variables)
    in_training = jax.jit(
        lambda p: run(model, recognizer.variables(p, {}), batch.features, batch.labels)
    )(state.ema_params)
    in_serving = jax.jit(lambda v: run(served.model, v, batch.features, batch.labels))(
        served.variables
    )
    for ours, theirs in zip(*map(jax.tree.leaves, (in_training, in_serving)), strict=True):
        assert jnp.issubdtype(theirs.dtype, jnp.signedinteger)
        assert np.asarray(ours).std() > 0
        np.testing.assert_array_equal(ours, theirs)
    assert audit(CONFIG, policy, FEATURES) == ()


@pytest.mark.slow
def test_the_trained_ranges_are_exported(trained):
    name, _, state = trained
    if name.startswith("generic_nna"):
        pytest.skip("no chip to export to")
    policy = policy_by_name(name)
    variables = to_host(task(name).under("").variables(state.ema_params, state.quant_stats))
    frozen = freeze_for_export(RNNT(CONFIG, policy), variables)
    spec, ranges = policy.rules[0].precision.spec, state.ema_params.ranges
    assert frozen.joint.output.weight_scale == range_to_scale(
        spec.tensor(Role.WEIGHT), ranges["joint"]["kernel"]
    )
    assert frozen.joint.sum.scale == range_to_scale(
        spec.tensor(Role.JOINT_PRE), ranges["joint"]["hidden_pre"]
    )
