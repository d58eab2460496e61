"""The gradients of trained ranges, through a chip's own operators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.models.joint import JOINT_SITES
from rnnt_qat.quant.learned_ranges import LearnedStep, TrainedThreshold
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.qtensor import QTensor, dequantize
from rnnt_qat.quant.quantized_module import QUANT_STATS, calibrated_ranges

X = jnp.asarray(np.random.default_rng(0).normal(0, 1, (20, 30)), jnp.float32)
TQT, LSQ = TrainedThreshold(), LearnedStep()


def fake_quant(spec, learned, operator, site, parameter, x):
    """Real values of ``x`` on a site's grid, and the real value of a step."""
    sites = JOINT_SITES | {"input": JOINT_SITES["encoded"]}
    precision = OnAccelerator(spec, trained_ranges=True)
    ops = precision.operators(sites, {site: learned.max_abs(parameter)})
    stored = getattr(ops, operator)(site, x)
    return dequantize(stored), stored.scale


@pytest.mark.parametrize(
    ("spec", "learned", "operator", "site"),
    [
        (GENERIC_NNA, TQT, "store", "logits"),
        (GENERIC_NNA, TQT, "weight", "kernel"),
        (GENERIC_NNA.with_weight_bits(4), TQT, "weight", "kernel"),
        (ETHOS_U_16X8.with_weight_bits(4), LSQ, "weight", "kernel"),
        (ETHOS_U_8X8_16, LSQ, "weight", "kernel"),
        (ETHOS_U_8X8_16, LSQ, "store", "encoded"),
    ],
)
def test_gradients_of_a_site(spec, learned, operator, site):
    max_abs = 1.3
    parameter = learned.initial(jnp.float32(max_abs))

    def real(parameter, x):
        return fake_quant(spec, learned, operator, site, parameter, x)[0]

    scale = float(fake_quant(spec, learned, operator, site, parameter, X)[1])
    by_parameter = jax.jacobian(real)(parameter, X)
    by_value = jax.grad(lambda x: real(parameter, x).sum())(X)

    qformat = spec.tensor(JOINT_SITES[site]).format
    steps = np.asarray(X, np.float64) / scale
    rounded = np.trunc(steps + np.copysign(0.5, steps))
    clipped = np.clip(rounded, qformat.minimum, qformat.maximum)
    inside = clipped == rounded
    assert 0 < inside.sum() < inside.size
    # Jain et al. (2020), equation 8, without s ln 2; Esser et al. (2020), equation 3.
    of_scale = np.where(inside, rounded - steps, clipped)
    # The threshold t has scale s(t) with s' = s ln 2; a step keeps its share of the range.
    slope = scale * np.log(2) if learned is TQT else scale / max_abs
    np.testing.assert_allclose(by_parameter, of_scale * slope, atol=2e-4 * slope * qformat.maximum)
    np.testing.assert_allclose(by_value, inside, rtol=1e-6)  # Esser et al., equation 5


@pytest.mark.parametrize(("spec", "learned"), [(GENERIC_NNA, TQT), (ETHOS_U_8X8_16, LSQ)])
def test_gradient_of_the_scale_that_a_sum_is_stored_at(spec, learned):
    sums = jnp.round(X * 1000)
    parameter = learned.initial(jnp.float32(1.5))
    real, scale = fake_quant(spec, learned, "store", "logits", parameter, QTensor(sums, 2.0**-9))
    jacobian = jax.jacobian(
        lambda p: fake_quant(spec, learned, "store", "logits", p, QTensor(sums, 2.0**-9))[0]
    )(parameter)
    steps, integers = np.asarray(sums) * 2.0**-9 / float(scale), np.asarray(real) / float(scale)
    inside = np.abs(steps) < spec.tensor(JOINT_SITES["logits"]).format.maximum
    assert 0 < inside.sum() < inside.size
    slope = float(scale) * (np.log(2) if learned is TQT else 1 / 1.5)
    expected = np.where(inside, integers - steps, integers) * slope
    np.testing.assert_allclose(jacobian, expected, rtol=1e-3, atol=1e-6)


def test_thresholds_are_powers_of_two_and_begin_at_the_calibrated():
    assert TQT.max_abs(jnp.asarray([-0.2, 0.0, 0.1, 2.3])).tolist() == [1.0, 1.0, 2.0, 8.0]
    ranges = jnp.asarray([3.0, 4.0, 0.1])
    assert TQT.max_abs(TQT.initial(ranges)).tolist() == [4.0, 4.0, 0.125]
    assert LSQ.max_abs(LSQ.initial(ranges)).tolist() == ranges.tolist()


def test_thresholds_are_for_chips_of_power_of_two_scales():
    TQT.check(GENERIC_NNA)
    with pytest.raises(ValueError, match=r"the scale of WEIGHT on ethos_u_16x8 is none; lsq"):
        TQT.check(ETHOS_U_16X8)


@pytest.mark.parametrize(("spec", "learned"), [(GENERIC_NNA, TQT), (ETHOS_U_16X8, LSQ)])
@pytest.mark.parametrize("start", [0.2, 30.0])
def test_the_range_of_least_error_is_learned(spec, learned, start):
    spec = spec.with_weight_bits(4)

    def loss(parameter):
        return ((fake_quant(spec, learned, "weight", "kernel", parameter, X)[0] - X) ** 2).mean()

    @jax.jit
    def learn(parameter):
        def step(p, rate):
            return p - rate * jnp.sign(jax.grad(loss)(p)), None

        return jax.lax.scan(step, parameter, jnp.repeat(jnp.asarray([0.05, 0.005]), 1000))[0]

    found = learn(learned.initial(jnp.float32(start)))
    candidates = learned.initial(2.0 ** jnp.arange(-2, 5, 1.0 if learned is TQT else 0.05))
    best = min(float(loss(c)) for c in candidates)
    assert float(loss(learned.initial(jnp.float32(start)))) > 4 * best
    assert float(loss(found)) < (2.0 if learned is TQT else 1.1) * best


def test_each_gate_has_its_own_range():
    policy = policy_by_name("ethos_u_16x8{weights.grain=gate, weights.bits=4}+lsq")
    xs, mask = X[None, :8, :4], jnp.ones((1, 8), bool)
    layer = LSTM(policy.calibration(), 3)
    params = layer.init(jax.random.key(0), xs, mask)["params"]
    kernel = params["input_kernel"].at[:, 3:6].multiply(100.0)  # the second gate's
    params = {**params, "input_kernel": kernel}
    _, found = layer.apply({"params": params}, xs, mask, mutable=[QUANT_STATS])
    ranges = calibrated_ranges(found[QUANT_STATS])
    assert ranges["input_kernel"].shape == ranges["recurrent_kernel"].shape == (4,)
    others = ranges["input_kernel"][jnp.array([0, 2, 3])]
    assert ranges["input_kernel"][1] > 10 * others.max()

    def loss(ranges):
        ys, *_ = LSTM(policy, 3).apply({"params": params, QUANT_STATS: ranges}, xs, mask)
        return dequantize(ys).sum()

    slopes = jax.jit(jax.grad(loss))(jax.tree.map(policy.learned.max_abs, ranges))
    assert np.count_nonzero(slopes["input_kernel"]) == 4
