"""Pruning of hidden units, against a straightforward choice in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.experiment.unit_pruning import LivingUnitsError, UnitPruning, UnitRemoval
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.models.hidden_units import living_units, unit_norms, with_zero_units
from rnnt_qat.training.plan import bind, check_stages
from rnnt_qat.training.pruning import MagnitudePruning, largest
from rnnt_qat.training.stages import Calibration, RemoveUnits, TrainingStage
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.task import FLOAT32
from tests.integration.test_objectives_and_hooks import task

HOOK = UnitPruning(final_sparsity=0.6, ramp_steps=6, every=2, pattern="net*/lstm_0")


def network(seed, units=10):
    """Parameters of a lone layer and its reader, named like an encoder's."""
    rng = np.random.default_rng(seed)

    def kernel(*shape):
        return rng.normal(size=shape).astype(np.float32)

    layer = {
        "input_kernel": kernel(3, 4 * units),
        "recurrent_kernel": kernel(units, 4 * units),
        "bias": kernel(4 * units),
    }
    return {"encoder": {"lstm_0": layer, "projection": {"kernel": kernel(units, 2)}}}


def test_the_smallest_units_are_pruned_and_stay_pruned():
    hook = dataclasses.replace(HOOK, pattern="encoder/*")
    params, kept = network(0), np.ones(10, bool)
    masks = hook.init(params)
    assert list(masks) == ["encoder/lstm_0"]
    average = network(99)
    for step in range(10):
        # Weights move, those of pruned units too.
        params = jax.tree.map(jnp.add, params, network(step + 1))
        norms = np.where(kept, unit_norms(params)["encoder/lstm_0"], -1)
        if step % 2 == 0 or step >= 6:
            count = int(np.floor(np.float32(hook.sparsity(step)) * 10))
            kept = kept & ~np.isin(np.arange(10), np.argsort(norms)[:count])
        expected = with_zero_units(params, {"encoder/lstm_0": kept})
        params, masks = jax.jit(hook.post_update)(params, masks, step)
        np.testing.assert_array_equal(masks["encoder/lstm_0"], kept, err_msg=str(step))
        jax.tree.map(np.testing.assert_array_equal, params, expected)
        served = living_units(hook.post_average(average, masks))["encoder/lstm_0"]
        np.testing.assert_array_equal(served, kept)
    assert kept.sum() == hook.kept("encoder/lstm_0", 10) == 4


def test_a_batch_skipped_at_the_end_of_the_ramp_leaves_no_unit_behind():
    hook = dataclasses.replace(HOOK, pattern="*", every=100)
    params = network(0)
    masks = hook.init(params)
    for step in (0, 5, 7):  # the sixth was not applied
        _, masks = hook.post_update(params, masks, jnp.int32(step))
    assert masks["encoder/lstm_0"].sum() == 4


def test_what_was_pruned_before_is_kept_pruned():
    dead = with_zero_units(network(0), {"encoder/lstm_0": np.arange(10) < 7})
    hook = UnitPruning(final_sparsity=0.0, ramp_steps=0)
    grown = jax.tree.map(lambda p: p + 1.0, dead)
    params, _ = hook.post_update(grown, hook.init(dead), jnp.int32(0))
    np.testing.assert_array_equal(living_units(params)["encoder/lstm_0"], np.arange(10) < 7)


@pytest.mark.parametrize("units", [1, 10, 288])
def test_as_many_units_remain_as_the_plan_says(units):
    """The plan's number is computed outside of training; rounding must not part them."""
    norms, alive = jnp.arange(1.0, units + 1), jnp.ones(units, bool)
    for percent in range(0, 100, 3):
        hook = UnitPruning(final_sparsity=percent / 100, ramp_steps=7)
        left = int(largest(norms, alive, hook.sparsity(jnp.int32(7))).sum())
        assert left == hook.kept("encoder/lstm_0", units) >= 1, percent


def test_several_hooks_leave_what_the_strictest_leaves():
    hooks = (
        UnitPruning(final_sparsity=0.5, pattern="encoder/*"),
        UnitPruning(final_sparsity=0.25),
        UnitPruning(final_sparsity=0.0),
    )
    widths = {"encoder/lstm_0": 8, "prediction/lstm_0": 8}
    removal = UnitRemoval.after(hooks, widths)
    assert removal.widths == {"encoder/lstm_0": 4, "prediction/lstm_0": 6}


def test_units_that_live_are_not_removed():
    removal = UnitRemoval({"encoder/lstm_0": 4})
    removal.check(with_zero_units(network(0), {"encoder/lstm_0": np.arange(10) < 4}))
    with pytest.raises(LivingUnitsError, match=r"encoder/lstm_0 has 5 units that live.*leave 4"):
        removal.check(with_zero_units(network(0), {"encoder/lstm_0": np.arange(10) < 5}))


PRUNE = TrainingStage("prune", 10, FLOAT32, hooks=(dataclasses.replace(HOOK, pattern="*"),))
WEIGHTS = dataclasses.replace(PRUNE, hooks=(MagnitudePruning(ramp_steps=2),))


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((RemoveUnits(), PRUNE), "no stage before it has a hook"),
        ((PRUNE, RemoveUnits(), Calibration(batches=0)), "no stage after it goes on"),
        ((PRUNE, RemoveUnits(), TrainingStage("aware", 1)), "after any removal"),
        ((Calibration(), PRUNE, RemoveUnits(), TrainingStage("aware", 1)), "after any removal"),
    ],
)
def test_plans_that_remove_nothing_or_lead_nowhere_are_refused(stages, message):
    with pytest.raises(ValueError, match=message):
        check_stages(stages, "generic_nna")


def test_a_removal_after_hooks_that_prune_no_units_is_refused():
    stages = (WEIGHTS, RemoveUnits(), TrainingStage("float", 1, FLOAT32))
    with pytest.raises(ConfigError, match="pruning is no UnitPruning"):
        bind(stages, task())


def test_a_stage_whose_units_live_on_ends_with_an_error():
    stages = (PRUNE, RemoveUnits(), TrainingStage("float", 1, FLOAT32))
    recognizer = task()
    first, _ = bind(stages, recognizer)
    params = recognizer.initial_params(jax.random.key(0))
    kept = {path: np.arange(len(m)) < 5 for path, m in living_units(params).items()}
    first.check(TrainState.create(with_zero_units(params, kept), {}, 0))
    with pytest.raises(LivingUnitsError, match="encoder/lstm_0 has 16 units that live"):
        first.check(TrainState.create(params, {}, 0))


def test_where_the_pruning_stage_is_left_out_nothing_is_removed():
    """As in a sweep, which starts from a model that was shrunk before."""
    stages = (dataclasses.replace(PRUNE, steps=0), RemoveUnits(), Calibration(batches=1))
    check_stages(stages, "generic_nna")
    assert [stage.name for stage in bind(stages, task())] == ["calibration"]


def test_a_pattern_that_matches_no_layer_is_refused():
    with pytest.raises(ValueError, match=r"'net\*/lstm_0' matches no .*there are encoder/lstm_0"):
        HOOK.init(network(0))
