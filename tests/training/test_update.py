import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.infra.mesh import global_batch, make_mesh, place_state, state_shardings
from rnnt_qat.training.compilation import CompiledUpdate
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import TrainingStage
from rnnt_qat.training.task import FLOAT32
from rnnt_qat.training.update import training_update
from tests.training.toy import ToyIterator, ToyTask, create_state


def float_loss(task):
    return task.under(FLOAT32).loss(task.objectives)


def begin(**optimizer):
    """The toy's float stage: its compiled update, and the state to start it with."""
    config = OptimizerConfig(**{"learning_rate": 0.1, "warmup_steps": 0, **optimizer})
    mesh = make_mesh()
    state = TrainingStage("float", 10, FLOAT32, config).bind(ToyTask()).begin(create_state(), ())
    shardings = state_shardings(mesh, state, 2**24)
    update = training_update(
        float_loss(ToyTask()), config, mesh, first_step=0, steps=10, log_every=100
    )
    return CompiledUpdate(update, mesh, 2**24), place_state(state, shardings), mesh


def batches(count, **kwargs):
    iterator = ToyIterator(**kwargs)
    return [next(iterator) for _ in range(count)]


def train(batches, **optimizer):
    update, state, mesh = begin(**optimizer)
    for batch in batches:
        state, report = update(state, global_batch(batch, mesh))
    return state, report


def test_learns():
    fixed = batches(1) * 8
    _, first = train(fixed[:1])
    _, all_of_them = train(fixed)
    assert all_of_them.interval.loss / all_of_them.interval.rows < 0.7 * (
        first.interval.loss / first.interval.rows
    )


@pytest.mark.parametrize("microbatches", [2, 8])
def test_accumulation_equals_the_whole_batch(microbatches):
    whole, whole_report = train(batches(4))
    cut, cut_report = train(batches(4), accumulation=microbatches)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
        whole.params,
        cut.params,
    )
    np.testing.assert_allclose(whole_report.interval.loss, cut_report.interval.loss, rtol=1e-6)
    assert whole_report.interval.utterances == cut_report.interval.utterances


def test_accumulation_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="8 rows does not divide into 3 microbatches"):
        train(batches(1), accumulation=3)


def test_batch_that_is_not_finite_changes_the_counters_alone():
    good, before = train(batches(2))
    after, report = train(batches(3, poisoned=[2]))
    for name in ("params", "ema_params"):
        jax.tree.map(np.testing.assert_array_equal, getattr(good, name), getattr(after, name))
    jax.tree.map(np.testing.assert_array_equal, good.opt_state[0], after.opt_state[0])
    assert after.opt_state[1].count == good.opt_state[1].count + 1  # schedules count batches
    assert after.step == good.step + 1
    assert (report.skips.batches, report.skips.in_a_row) == (1, 1)
    assert report.interval.loss == before.interval.loss
    assert report.interval.updates == 2


def test_skips_in_a_row_are_forgotten_after_an_update_but_not_the_longest_run():
    _, report = train(batches(6, poisoned=[1, 2, 4]))
    skips = jax.tree.map(int, report.skips)
    assert (skips.batches, skips.in_a_row, skips.longest_run) == (3, 0, 2)


def test_batch_without_a_row_is_skipped():
    empty = batches(1)[0] | {"lengths": np.zeros(8, np.int32)}
    _, report = train([empty])
    assert report.skips.batches == 1


def test_infeasible_rows_are_left_out_and_counted():
    def picky(params, frozen, batch, step, key):
        rows = float_loss(ToyTask())(params, frozen, batch, step, key)
        short = batch["lengths"] < 3
        return rows.replace(
            feasible=rows.present & ~short, loss=jnp.where(short, jnp.inf, rows.loss)
        )

    config = OptimizerConfig()
    update = jax.jit(
        training_update(picky, config, make_mesh(), first_step=0, steps=1, log_every=9)
    )
    state = TrainingStage("float", 1, FLOAT32, config).bind(ToyTask()).begin(create_state(), ())
    batch = batches(2)[1]
    _, report = update(state, batch)
    lengths = batch["lengths"]
    assert report.skips.batches == 0
    assert report.skips.infeasible_rows == ((lengths > 0) & (lengths < 3)).sum() > 0
    assert report.interval.rows == (lengths >= 3).sum()


def test_state_is_donated_and_shapes_compile_once():
    update, state, mesh = begin()
    for batch in batches(6):
        old = state
        state, _ = update(state, global_batch(batch, mesh))
        assert old.params["w"].is_deleted()
    assert update.count == 2
    assert update.seconds > 0


def test_ema_follows_the_parameters():
    state, _ = train(batches(3), ema_decay=0.0)
    jax.tree.map(np.testing.assert_array_equal, state.params, state.ema_params)
    state, _ = train(batches(3), ema_decay=0.9)
    assert not np.array_equal(state.params["w"], state.ema_params["w"])


def test_bfloat16_computes_in_half_and_keeps_float32():
    config = OptimizerConfig()
    seen = []

    class SpyTask(ToyTask):
        def under(self, precision):
            model = super().under(precision)
            loss = model.loss

            def spied(objectives, teacher=None):
                def losses(params, *rest):
                    seen.append(params["w"].dtype)
                    return loss(objectives, teacher)(params, *rest)

                return losses

            model.loss = spied
            return model

    stage = TrainingStage("float", 1, FLOAT32, config, bfloat16=True).bind(SpyTask())
    state, _ = jax.jit(stage.make_update(0, 1, make_mesh()))(
        stage.begin(create_state(), ()), batches(1)[0]
    )
    assert seen == [jnp.bfloat16]
    assert state.params["w"].dtype == state.ema_params["w"].dtype == jnp.float32
