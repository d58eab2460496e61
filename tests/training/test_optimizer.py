import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnt_qat.training.optimizer import (
    OptimizerConfig,
    keep_skipped,
    make_optimizer,
    make_schedule,
    update_ema,
)
from rnnt_qat.training.state import AwareParams


@pytest.mark.parametrize(("decay", "middle"), [("cosine", 0.55), ("linear", 0.55), ("constant", 1)])
def test_schedule(decay, middle):
    config = OptimizerConfig(learning_rate=2.0, warmup_steps=10, decay=decay, final_fraction=0.1)
    rate = make_schedule(config, 110)
    np.testing.assert_allclose(rate(jnp.array(0)), 0.2)
    np.testing.assert_allclose(rate(jnp.array(9)), 2.0)
    np.testing.assert_allclose(rate(jnp.array(60)), 2.0 * middle, rtol=1e-5)
    np.testing.assert_allclose(rate(jnp.array(110)), 2.0 if decay == "constant" else 0.2, rtol=1e-5)


def test_only_matrices_decay():
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    config = OptimizerConfig(learning_rate=2.0, warmup_steps=0, weight_decay=0.5)
    optimizer = make_optimizer(config, 10)
    zeros = {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)}
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    np.testing.assert_array_equal(updates["w"], -2.0 * 0.5)
    np.testing.assert_array_equal(updates["b"], 0.0)


def test_ranges_have_their_own_rate_and_norm_and_do_not_decay():
    network, ranges = {"w": jnp.ones((2, 2))}, {"x": jnp.ones(()), "kernel": jnp.ones((3, 3))}
    params = AwareParams(network, ranges)
    gradients = AwareParams({"w": jnp.full((2, 2), 0.1)}, {"x": jnp.float32(1e6),
                                                          "kernel": jnp.zeros((3, 3))})  # fmt: skip
    config = OptimizerConfig(learning_rate=2.0, warmup_steps=0, weight_decay=0.5)
    both, alone = make_optimizer(config, 10, range_rate=50.0), make_optimizer(config, 10)
    updates, _ = both.update(gradients, both.init(params), params)
    expected, _ = alone.update(gradients.network, alone.init(network), network)
    np.testing.assert_array_equal(updates.network["w"], expected["w"])
    np.testing.assert_allclose(updates.ranges["x"], -2.0 * 50.0, rtol=1e-6)
    np.testing.assert_array_equal(updates.ranges["kernel"], 0.0)


def test_the_chain_subtracts_the_scheduled_rate_times_the_direction():
    """The direction, multiplied by the schedule and subtracted outside: equal to the bit."""
    config, steps = OptimizerConfig(learning_rate=3e-2, warmup_steps=3), 12
    params = {"w": jax.random.normal(jax.random.key(0), (7, 5)), "b": jnp.zeros(5)}
    optimizer, schedule = make_optimizer(config, steps), make_schedule(config, steps)
    clip = optax.clip_by_global_norm(config.clip_norm)
    adam = optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)
    matrices = {"w": True, "b": False}
    direction = optax.chain(
        clip, adam, optax.add_decayed_weights(config.weight_decay, mask=matrices)
    )

    @jax.jit
    def chained(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def outside(params, state, gradients, step):
        deltas, state = direction.update(gradients, state, params)
        rate = schedule(step)
        return jax.tree.map(lambda p, d: p - rate * d, params, deltas), state

    ours, theirs = (params, optimizer.init(params)), (params, direction.init(params))
    for step in range(steps):
        keys = jax.random.split(jax.random.key(step + 1))
        gradients = {
            "w": 3 * jax.random.normal(keys[0], (7, 5)), "b": jax.random.normal(keys[1], (5,))
        }  # fmt: skip
        ours, theirs = chained(*ours, gradients), outside(*theirs, gradients, jnp.int32(step))
        jax.tree.map(np.testing.assert_array_equal, ours[0], theirs[0])


def test_a_skipped_batch_moves_the_schedule_on_and_nothing_else():
    params = {"w": jnp.ones((2, 2))}
    optimizer = make_optimizer(OptimizerConfig(), 10)
    old = optimizer.init(params)
    _, new = optimizer.update(params, old, params)
    skipped, applied = (keep_skipped(jnp.array(a), new, old) for a in (False, True))
    jax.tree.map(np.testing.assert_array_equal, applied, new)
    jax.tree.map(np.testing.assert_array_equal, skipped[0], old[0])
    assert skipped[1].count == new[1].count == 1
    assert not np.array_equal(new[0][1].mu["w"], old[0][1].mu["w"])


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 1 / 10), (8, 9 / 18), (90, 91 / 100), (10_000, 0.999)]
)
def test_the_average_forgets_its_start_soon(step, decay):
    average = update_ema({"w": jnp.array(1.0)}, {"w": jnp.array(3.0)}, 0.999, jnp.array(step))
    np.testing.assert_allclose(average["w"], decay * 1.0 + (1 - decay) * 3.0, rtol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"decay": "cosin"},
        {"learning_rate": 0.0},
        {"ema_decay": 1.0},
        {"accumulation": 0},
        {"warmup_steps": -1},
        {"weight_decay": -0.1},
        {"final_fraction": 1.5},
    ],
)
def test_impossible_settings_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        OptimizerConfig(**bad)
