"""Run by ``test_distributed.py`` on four simulated devices."""

import re

import jax
import numpy as np

from rnnt_qat.batch import Batch
from rnnt_qat.experiment.task import RecognizerTask
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.mesh import global_batch, make_mesh
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.objectives import CTC, Transducer
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.training.objective import WeightedObjective
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.task import FLOAT32

ROWS, FRAMES, LABELS, BINS, VOCABULARY = 8, 24, 5, 8, 9
OBJECTIVES = (
    WeightedObjective("transducer", Transducer()),
    WeightedObjective("ctc", CTC(), weight=0.3),
)


def task(policy="float32"):
    model = RNNTConfig(
        vocabulary=VOCABULARY,
        encoder=EncoderConfig(num_layers=2, hidden_size=16, dropout_rate=0.3),
        prediction=LSTMPredictionConfig(embedding_size=8, hidden_size=12, dropout_rate=0.3),
        joint_size=10,
    )
    frontend = Frontend(
        FrontendConfig(LogMelConfig(num_mel_bins=BINS), stack=2),
        FeatureStats(np.zeros(BINS, np.float32), np.ones(BINS, np.float32)),
    )
    masks = SpecAugmentConfig(freq_mask_bins=4)
    return RecognizerTask(model, policy_by_name(policy), frontend, masks, OBJECTIVES)


def batch():
    rng = np.random.default_rng(0)
    return Batch(
        features=rng.normal(size=(ROWS, FRAMES, 2 * BINS)).astype(np.float32),
        feature_lengths=rng.integers(16, FRAMES + 1, ROWS).astype(np.int32),
        labels=rng.integers(1, VOCABULARY, (ROWS, LABELS)).astype(np.int32),
        label_lengths=rng.integers(1, LABELS + 1, ROWS).astype(np.int32),
        utterance_index=rng.permutation(100)[:ROWS].astype(np.int32),
    )


def learned(mesh, accumulation=1):
    """What a batch teaches on these devices, and the program that says so."""
    config = OptimizerConfig(accumulation=accumulation)
    recognizer = task()
    params = recognizer.initial_params(jax.random.key(0))
    stage = TrainingStage("float", 1, FLOAT32, config).bind(recognizer)
    state = stage.begin(TrainState.create(params, {}, seed=0), ())
    learn = jax.jit(stage.make_update(0, 1, mesh).learn).lower(state, global_batch(batch(), mesh))
    compiled = learn.compile()
    return jax.device_get(compiled(state, global_batch(batch(), mesh))), compiled.as_text()


def corrected(mesh):
    """The parameters after a calibration on one batch with bias correction."""
    recognizer = task("generic_nna_w2")
    params = recognizer.initial_params(jax.random.key(0))
    stage = Calibration(batches=1, bias_correction=True).bind(recognizer)
    state = stage.begin(TrainState.create(params, {}, seed=0), ())
    update = stage.make_update(0, 1, mesh)
    learned = jax.jit(update.learn)(state, global_batch(batch(), mesh))
    state, _ = update.apply(state, learned)
    return jax.device_get(params), jax.device_get(jax.jit(stage.finish)(state).ema_params)


def main():
    assert len(jax.devices()) == 4
    (one, sums), _ = learned(make_mesh(jax.devices()[:1]))
    assert float(sums.rows) == ROWS
    for accumulation in (1, 2):
        (four, their_sums), program = learned(make_mesh(), accumulation)
        # Chance included: a row's masks do not depend on where the row lies.
        leaves = (jax.tree.leaves(tree) for tree in ((one, sums), (four, their_sums)))
        for a, b in zip(*leaves, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(a).max())
        collectives = set(re.findall(r" (all-\w+|reduce-scatter|collective-permute)\(", program))
        assert collectives == {"all-reduce"}, collectives
        inside_loops = program[: program.index("ENTRY")]
        assert " all-reduce(" not in inside_loops, "devices wait for each other in every turn"
    before, one = corrected(make_mesh(jax.devices()[:1]))
    _, four = corrected(make_mesh())
    changes = jax.tree.map(lambda a, b: np.abs(a - b).max(), one, before)
    assert changes["encoder"]["lstm_0"]["bias"] > 1e-3
    assert changes["joint"]["bias"] == 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), one, four)


main()
