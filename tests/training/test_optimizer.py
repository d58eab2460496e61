import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.training.optimizer import (
    OptimizerConfig,
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
    optimizer = make_optimizer(OptimizerConfig(weight_decay=0.5))
    zeros = {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)}
    deltas, _ = optimizer.update(zeros, optimizer.init(params), params)
    np.testing.assert_array_equal(deltas["w"], 0.5)
    np.testing.assert_array_equal(deltas["b"], 0.0)


def test_ranges_have_their_own_rate_and_norm_and_do_not_decay():
    network, ranges = {"w": jnp.ones((2, 2))}, {"x": jnp.ones(()), "kernel": jnp.ones((3, 3))}
    params = AwareParams(network, ranges)
    gradients = AwareParams({"w": jnp.full((2, 2), 0.1)}, {"x": jnp.float32(1e6),
                                                          "kernel": jnp.zeros((3, 3))})  # fmt: skip
    config = OptimizerConfig(weight_decay=0.5)
    both, alone = make_optimizer(config, range_rate=50.0), make_optimizer(config)
    deltas, _ = both.update(gradients, both.init(params), params)
    expected, _ = alone.update(gradients.network, alone.init(network), network)
    np.testing.assert_array_equal(deltas.network["w"], expected["w"])
    np.testing.assert_allclose(deltas.ranges["x"], 50.0, rtol=1e-6)
    np.testing.assert_array_equal(deltas.ranges["kernel"], 0.0)


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 1 / 10), (8, 9 / 18), (90, 91 / 100), (10_000, 0.999)]
)
def test_the_average_forgets_its_start_soon(step, decay):
    average = update_ema({"w": jnp.array(1.0)}, {"w": jnp.array(3.0)}, 0.999, jnp.array(step))
    np.testing.assert_allclose(average["w"], decay * 1.0 + (1 - decay) * 3.0, rtol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [{"decay": "cosin"}, {"learning_rate": 0.0}, {"ema_decay": 1.0}, {"accumulation": 0}],
)
def test_impossible_settings_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        OptimizerConfig(**bad)
