import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.quant.learned_ranges import (
    initial_log2_threshold,
    initial_step,
    learned_step_scale,
    threshold_scale,
)
from rnnt_qat.quant.straight_through import quantize_straight_through

X = jnp.asarray(np.random.default_rng(0).normal(0, 1, 400), jnp.float32)


def fake_quant(x, scale):
    return quantize_straight_through(x, scale, -128, 127) * scale


def test_threshold_is_rounded_up_to_a_power_of_two():
    thresholds = jnp.log2(jnp.asarray([0.9, 1.0, 1.1, 5.0]))
    assert (threshold_scale(thresholds, 8) * 128).tolist() == [1.0, 1.0, 2.0, 8.0]


@pytest.mark.parametrize("log2_threshold", [-1.6, 0.3])
def test_gradient_of_a_threshold_is_tqts(log2_threshold):
    jacobian = jax.jacobian(lambda t: fake_quant(X, threshold_scale(t, 8)))(
        jnp.float32(log2_threshold)
    )
    scale = 2.0 ** (np.ceil(log2_threshold) - 7)
    steps = np.asarray(X) / scale
    rounded = np.trunc(steps + np.copysign(0.5, steps))
    clipped = np.clip(rounded, -128, 127)
    # Jain et al. (2020), equation 8.
    expected = scale * np.log(2) * np.where(clipped == rounded, rounded - steps, clipped)
    np.testing.assert_allclose(jacobian, expected, atol=1e-4)


def test_gradient_of_a_step_is_lsqs():
    step, share = jnp.float32(0.011), (127 * 400) ** -0.5
    jacobian = jax.jacobian(lambda s: fake_quant(X, learned_step_scale(s, 127, 400)))(step)
    steps = np.asarray(X) / 0.011
    rounded = np.trunc(steps + np.copysign(0.5, steps))
    clipped = np.clip(rounded, -128, 127)
    # Esser et al. (2020), equation 3.
    expected = share * np.where(clipped == rounded, rounded - steps, clipped)
    np.testing.assert_allclose(jacobian, expected, atol=1e-5)
    assert learned_step_scale(step, 127, 400) == step


def test_initial_values():
    assert threshold_scale(initial_log2_threshold(jnp.float32(3.0)), 8) == 4 / 128
    assert threshold_scale(initial_log2_threshold(jnp.float32(4.0)), 8) == 4 / 128
    assert float(initial_step(X, 127)) == pytest.approx(2 * float(jnp.abs(X).mean()) / 127**0.5)


def test_a_threshold_learns_the_range_of_least_error():
    def loss(log2_threshold):
        return ((fake_quant(X, threshold_scale(log2_threshold, 4)) - X) ** 2).mean()

    log2_threshold = jnp.float32(4.0)
    slope = jax.jit(jax.grad(loss))
    for _ in range(200):
        log2_threshold = log2_threshold - 0.05 * jnp.sign(slope(log2_threshold))
    best = min(range(-2, 6), key=lambda k: float(loss(jnp.float32(k))))
    assert abs(float(jnp.ceil(log2_threshold)) - best) <= 1
