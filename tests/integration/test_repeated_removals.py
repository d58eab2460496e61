"""Plans with several removals of units, and removals that leave one unit of a layer."""

import dataclasses

import jax
import numpy as np
import pytest

from rnnt_qat.export.freeze import freeze
from rnnt_qat.export.thaw import thaw
from rnnt_qat.infra.mesh import to_host
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.hidden_units import lstm_widths
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.training.stages import RemoveUnits, TrainingStage
from rnnt_qat.training.task import FLOAT32
from rnnt_qat.verify.verification import UtteranceFeatures, verify
from tests.integration.test_learned_ranges import Batches
from tests.integration.test_objectives_and_hooks import task
from tests.integration.test_remove_units import CHIP, HALF, OPTIMIZER, encoded, make
from tests.integration.test_serving_equals_training import CONFIG

pytestmark = pytest.mark.slow
TWICE = (
    TrainingStage("prune", 5, FLOAT32, OPTIMIZER, hooks=(HALF,)),
    RemoveUnits(),
    RemoveUnits("nothing_left_to_remove"),
    TrainingStage("left_out", 0, FLOAT32, OPTIMIZER, hooks=(HALF,)),
    TrainingStage("more", 5, FLOAT32, OPTIMIZER, hooks=(HALF,)),
    RemoveUnits("again"),
    TrainingStage("recover", 2, FLOAT32, OPTIMIZER),
)
WIDTHS = [
    {"encoder/lstm_0": 16, "encoder/lstm_1": 16, "prediction/lstm_0": 12},
    {"encoder/lstm_0": 8, "encoder/lstm_1": 8, "prediction/lstm_0": 6},
    {"encoder/lstm_0": 4, "encoder/lstm_1": 4, "prediction/lstm_0": 3},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Tasks of the stages, the last state, and the best states by stage."""
    tasks, trainer = make(tmp_path_factory.mktemp("run"), Batches(), TWICE)
    return tasks, to_host(trainer.run()), {b.stage: b for b in trainer.best_states()}


def test_each_removal_leaves_half_of_what_there_was(run):
    tasks, state, best = run
    assert [lstm_widths(task.model) for task in tasks] == WIDTHS
    assert list(best) == ["prune", "more", "recover"]
    shapes = jax.tree.map(np.shape, tasks[-1].initial_params(jax.random.key(1)))
    assert jax.tree.map(np.shape, state.params) == shapes


@pytest.mark.parametrize("last", [5, 10])
def test_a_run_interrupted_around_either_removal_ends_with_the_same_bits(run, tmp_path, last):
    with pytest.raises(InterruptedError):
        make(tmp_path, Batches(last=last), TWICE)[1].run()
    resumed = to_host(make(tmp_path, Batches(), TWICE)[1].run())
    jax.tree.map(np.testing.assert_array_equal, resumed, run[1])


ONE = dataclasses.replace(HALF, final_sparsity=0.95)


def test_one_unit_that_is_left_computes_the_same_and_is_played(tmp_path):
    stages = (
        TrainingStage("prune", 5, FLOAT32, OPTIMIZER, hooks=(ONE,)),
        RemoveUnits(),
        TrainingStage("recover", 1, FLOAT32, OPTIMIZER),
    )
    tasks, trainer = make(tmp_path, Batches(), stages)
    trainer.run()
    best = {b.stage: b for b in trainer.best_states()}
    smaller = tasks[1].model
    assert set(lstm_widths(smaller).values()) == {1}
    _, removal = tasks[0].without_units((ONE,))
    pruned = best["prune"].state.ema_params
    removed = removal.remove(pruned)
    for before, after in zip(encoded(CONFIG, pruned), encoded(smaller, removed), strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)

    policy = task().under(CHIP).policy
    model, batch = RNNT(smaller, policy), Batches().batch
    inputs = batch.features, batch.feature_lengths, batch.labels, batch.label_lengths
    params = best["recover"].state.ema_params
    calibrating = model.clone(policy=policy.calibration())
    _, ranges = calibrating.apply({"params": params}, *inputs, mutable=["quant_stats"])
    variables = {"params": params, **ranges}
    frozen = freeze(model, variables)
    heard = [UtteranceFeatures("u", batch.features[0])]
    found = verify(frozen, BoundTransducer(variables, model), heard, (1, 2), 2)
    assert all(agreement.exact for agreement in found.agreements), found.agreements
    assert thaw(frozen, policy).model.config.encoder.hidden_size == 1
