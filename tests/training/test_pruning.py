import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.training.metrics import read_records
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.plan import bind
from rnnt_qat.training.pruning import MagnitudePruning
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32
from tests.training.toy import WIDTH, ToyIterator, ToyTask, trainer

HOOK = MagnitudePruning(final_sparsity=0.75, begin_step=2, ramp_steps=8, every=3, pattern="w")


def test_sparsity_rises_as_a_cubic():
    hook = MagnitudePruning(
        initial_sparsity=0.1, final_sparsity=0.9, begin_step=10, ramp_steps=100, pattern="w"
    )
    got = [float(hook.sparsity(step)) for step in (0, 10, 60, 110, 500)]
    np.testing.assert_allclose(got, [0.1, 0.1, 0.9 - 0.8 * 0.5**3, 0.9, 0.9], rtol=1e-6)
    at_once = MagnitudePruning(final_sparsity=0.5, begin_step=1, ramp_steps=0)
    assert [float(at_once.sparsity(step)) for step in (0, 1, 2)] == [0.0, 0.5, 0.5]


def test_the_smallest_weights_are_pruned_and_stay_pruned():
    """Against a straightforward choice in NumPy, over weights that move meanwhile."""
    rng = np.random.default_rng(0)
    weights, kept = rng.normal(size=(6, 4)).astype(np.float32), np.ones((6, 4), bool)
    masks = HOOK.init({"w": weights, "b": np.zeros(4)})
    assert list(masks) == ["w"]
    for step in range(16):
        moved = weights + rng.normal(size=weights.shape).astype(np.float32)  # zeros move as well
        params, masks = jax.jit(HOOK.post_update)({"w": moved, "b": moved[0]}, masks, step)
        if step in (2, 5, 8, 10, 11, 14):  # every third from the second, and the ramp's end
            count = int(np.floor(np.float32(HOOK.sparsity(step)) * moved.size))
            magnitudes = np.where(kept, np.abs(moved), -1).ravel()
            kept = kept & ~np.isin(np.arange(24), np.argsort(magnitudes)[:count]).reshape(6, 4)
        weights = np.where(kept, moved, 0)
        np.testing.assert_array_equal(params["w"], weights, err_msg=str(step))
        np.testing.assert_array_equal(params["b"], moved[0])
        np.testing.assert_array_equal(HOOK.post_average({"w": moved}, masks)["w"], weights)
    assert (weights == 0).mean() == 0.75


def test_the_smallest_columns_are_pruned_and_stay_pruned():
    """Against norms in NumPy; a zero within a kept column stays as well."""
    rng = np.random.default_rng(0)
    hook = MagnitudePruning(final_sparsity=0.5, ramp_steps=4, every=1, pattern="w", unit="column")
    start = rng.normal(size=(5, 8)).astype(np.float32)
    start[0, :] = 0.0
    masks, kept = hook.init({"w": start}), np.ones(8, bool)
    for step in range(6):
        moved = start + rng.normal(size=start.shape).astype(np.float32)
        params, masks = jax.jit(hook.post_update)({"w": moved}, masks, step)
        count = int(np.floor(np.float32(hook.sparsity(step)) * 8))
        norms = np.where(kept, np.linalg.norm(moved[1:], axis=0), -1)
        kept[np.argsort(norms)[:count]] = False
        expected = np.where(kept, moved, 0)
        expected[0] = 0
        np.testing.assert_array_equal(params["w"], expected, err_msg=str(step))
    assert kept.sum() == 4


def test_zeros_that_are_there_are_kept():
    hook = MagnitudePruning(final_sparsity=0.0, ramp_steps=0, every=1, pattern="*")
    masks = hook.init({"w": jnp.array([0.0, 1.0])})
    params, _ = hook.post_update({"w": jnp.array([5.0, 1.0])}, masks, jnp.int32(0))
    np.testing.assert_array_equal(params["w"], [0.0, 1.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MagnitudePruning(final_sparsity=1.0), "final_sparsity=1.0"),
        (lambda: MagnitudePruning(final_sparsity=1 - 1e-9), "final_sparsity=0.999999999"),
        (lambda: MagnitudePruning(every=0), "every at least 1"),
        (lambda: TrainingStage("float", 10, FLOAT32, hooks=(HOOK,)), "at step 10 of a stage of 10"),
        (lambda: HOOK.init({"b": jnp.zeros(2)}), "pattern 'w' matches no parameter; there are b"),
    ],
)
def test_what_cannot_prune_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class EarlierIsBetter(ToyTask):
    """Measures the share of zeros as the error, which pruning raises."""

    def under(self, precision):
        model = super().under(precision)

        def evaluate(params, quant_stats, progress):
            return {"wer": float((np.asarray(params["w"]) == 0).mean())}

        model.evaluate = evaluate
        return model


@pytest.mark.parametrize("patience", [0, 1])
def test_the_best_state_is_one_of_the_final_sparsity(tmp_path, patience):
    """Lower errors before the ramp's end neither win nor end the stage."""
    stage = TrainingStage("float", 20, FLOAT32, hooks=(HOOK,), patience=patience)
    made = trainer(tmp_path, (stage,), ToyIterator(), evaluate_every=2)
    made._stages = bind((stage,), EarlierIsBetter())
    made.run()
    (best,) = made.best_states()
    errors = {r["step"]: r["wer"] for r in read_records(tmp_path / "metrics.jsonl") if "wer" in r}
    assert HOOK.settled_after == 11
    assert errors[2] < errors[8] < errors[12] == best.wer == 0.75
    assert best.step >= 12
    assert (np.asarray(best.state.params["w"]) == 0).mean() == 0.75
    assert max(errors) == (14 if patience else 20)


class StoppedError(Exception):
    pass


class Stopping(ToyIterator):
    def __next__(self):
        if self.state()["batch"] == 17:
            raise StoppedError
        return super().__next__()


def test_zeros_last_through_later_stages_and_a_resumed_run(tmp_path):
    """Pruned in floating point, kept while training on a grid; stopped in the middle of it."""
    optimizer = OptimizerConfig(learning_rate=0.05, warmup_steps=1)
    keep = MagnitudePruning(final_sparsity=0.0, ramp_steps=0, every=1, pattern="w")
    stages = (
        TrainingStage("float", 12, FLOAT32, optimizer, hooks=(HOOK,)),
        Calibration(batches=2),
        TrainingStage("aware", 8, optimizer=optimizer, hooks=(keep,)),
    )
    whole = trainer(tmp_path / "whole", stages, ToyIterator(), evaluate=False).run()
    with pytest.raises(StoppedError):
        trainer(tmp_path / "cut", stages, Stopping(), evaluate=False).run()
    resumed = trainer(tmp_path / "cut", stages, ToyIterator(), evaluate=False).run()
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    for params in (whole.params, whole.ema_params):
        assert (params["w"] == 0).sum() == 0.75 * WIDTH * WIDTH
    zeros = itertools.starmap(np.array_equal, [(whole.hooks[0]["w"], whole.params["w"] != 0)])
    assert all(zeros)
