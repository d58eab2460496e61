from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import Grain
from rnnt_qat.quant.scales import by_column, power_of_two_above, range_to_scale, weight_scale


def test_power_of_two_above():
    x = jnp.asarray([0.25, 0.2500001, 0.3, 1.0, 1.0000001, 5.0])
    assert power_of_two_above(x).tolist() == [0.25, 0.5, 0.5, 1.0, 2.0, 8.0]


def test_power_of_two_scales_hold_all_but_the_last_step():
    scale = range_to_scale(GENERIC_NNA.tensor(Role.INPUT), jnp.asarray([0.9, 1.0, 3.0]))
    assert (scale * 128).tolist() == [1.0, 1.0, 4.0]


def test_other_scales_have_few_significant_bits_and_cover_the_range():
    tensor = ETHOS_U_16X8.tensor(Role.WEIGHT)
    max_abs = np.random.default_rng(0).uniform(0.01, 3, 1000).astype(np.float32)
    scale = np.asarray(range_to_scale(tensor, jnp.asarray(max_abs)), np.float64)
    fraction, _ = np.frexp(scale)
    assert np.all(fraction * 2**15 == np.round(fraction * 2**15))
    assert np.all(scale * 127 >= max_abs * (1 - 2e-7))
    assert np.all(scale * 127 <= max_abs * (1 + 2**-13))


@pytest.mark.parametrize("tensor", [ETHOS_U_16X8.tensor(r) for r in (Role.WEIGHT, Role.INPUT)])
def test_a_scale_grows_in_proportion_to_its_range(tensor):
    scale, slope = jax.value_and_grad(lambda r: range_to_scale(tensor, r))(jnp.float32(0.77))
    np.testing.assert_allclose(slope, scale / 0.77, rtol=1e-6)


def test_kernels_by_tensor_or_by_column():
    w = jnp.asarray([[0.5, -0.1], [0.2, 0.05]])
    tensor = GENERIC_NNA.tensor(Role.WEIGHT)
    assert weight_scale(tensor, w) == 0.5 / 128
    columns = weight_scale(replace(tensor, grain=Grain.CHANNEL), w)
    assert (columns * 128).tolist() == [0.5, 0.125]


def test_a_gate_with_one_large_weight_spares_the_others():
    w = np.random.default_rng(0).uniform(-1, 1, (5, 12)).astype(np.float32)
    w[2, 4] = 1000.0  # the second gate's
    for bits in (8, 4):
        tensor = replace(GENERIC_NNA.with_weight_bits(bits).tensor(Role.WEIGHT), grain=Grain.GATE)
        scale = weight_scale(tensor, jnp.asarray(w), Role.GATE_WEIGHT.blocks)
        gates = [weight_scale(tensor, jnp.asarray(w[:, n : n + 3])) for n in range(0, 12, 3)]
        assert scale.tolist() == [float(gate) for gate in gates]
        assert by_column(scale, 12).tolist() == [s for s in scale.tolist() for _ in range(3)]
    assert scale[1] > 100 * scale[0]


def test_fixed_formats_take_no_range():
    with pytest.raises(ValueError, match=r"CELL has the fixed format Q4.11"):
        range_to_scale(GENERIC_NNA.tensor(Role.CELL), jnp.float32(1))


@pytest.mark.parametrize("chip", [ETHOS_U_16X8, GENERIC_NNA])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_narrow_kernels_are_rounded_with_little_error(chip, bits):
    tensor = chip.with_weight_bits(bits).tensor(Role.WEIGHT)
    w = np.random.default_rng(bits).normal(0, 0.1, (200, 300)).astype(np.float32)

    def error(scale):
        low = -tensor.format.maximum if tensor.format.narrow else -tensor.format.maximum - 1
        rounded = np.clip(np.round(w / scale), low, tensor.format.maximum) * scale
        return ((w - rounded) ** 2).mean()

    ours = float(weight_scale(tensor, jnp.asarray(w)))
    # A power of two may be up to twice the best step, never half of it.
    factors = (0.5,) if tensor.power_of_two else (0.9, 1.1)
    assert all(error(ours) < error(ours * factor) for factor in factors)
    assert error(ours) <= error(float(range_to_scale(tensor, jnp.abs(w).max())))


def test_narrow_scales_do_not_depend_on_the_order_of_a_sum():
    tensor = ETHOS_U_16X8.with_weight_bits(4).tensor(Role.WEIGHT)
    w = np.random.default_rng(0).normal(size=4096).astype(np.float32)
    scales = {
        float(weight_scale(tensor, jnp.asarray(order.reshape(shape))))
        for order in (w, np.sort(w), w[::-1])
        for shape in ((64, 64), (4096, 1), (8, 512))
    }
    assert len(scales) == 1


def test_a_narrow_range_never_exceeds_the_largest_weight():
    tensor = ETHOS_U_16X8.with_weight_bits(2).tensor(Role.WEIGHT)
    equal = jnp.full((3, 4), 0.25)
    assert weight_scale(tensor, equal) == 0.25
    assert weight_scale(tensor, jnp.zeros((3, 4))) > 0
