from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators import kernels
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.accelerators.kernels import Accumulated, Stored
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AddGrid, Operator
from rnnt_qat.fixedpoint.saturation import Overflow
from tests.reference.fixedpoint_int64 import divide, saturate, wrap

INT8 = np.arange(-128, 128)
AWAY = GENERIC_NNA.add_rounding


def int32(x):
    return jnp.asarray(x, jnp.int32)


@pytest.mark.parametrize("grid", AddGrid)
def test_every_pair_of_int8_on_either_grid(grid):
    spec = replace(GENERIC_NNA, add_grid=grid)
    a, b = Stored(int32(INT8[:, None]), 2.0**-12), Stored(int32(INT8), 2.0**-14)
    ours = kernels.add(spec, a, b, Role.GATE_PRE, 2.0**-11)
    if grid is AddGrid.RESULT:
        expected = divide(INT8[:, None], 2, AWAY) + divide(INT8, 8, AWAY)
    else:
        expected = divide(4 * INT8[:, None] + INT8, 8, AWAY)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    ("overflow", "bring"), [(Overflow.SATURATE, saturate), (Overflow.WRAP, wrap)]
)
def test_results_saturate_or_wrap(overflow, bring):
    spec = replace(GENERIC_NNA, overflow=overflow)
    x = np.array([-(2**15), -20000, 3, 20000, 2**15 - 1])
    a = Stored(int32(x[:, None]), 2.0**-12)
    total = kernels.add(spec, a, Stored(int32(x), 2.0**-12), Role.GATE_PRE, 2.0**-12)
    np.testing.assert_array_equal(total, bring(x[:, None] + x, 16))
    product = kernels.mul(spec, a, Stored(int32(x), 2.0**-12), Role.CELL, 2.0**-11)
    np.testing.assert_array_equal(product, bring(divide(x[:, None] * x, 2**13, AWAY), 16))
    stored = kernels.store(spec, Accumulated(int32(x * 2**8), 2.0**-14), Role.GATE_PRE, 2.0**-12)
    np.testing.assert_array_equal(stored, bring(divide(x * 2**8, 4, AWAY), 16))


def test_moving_to_another_scale():
    ours = kernels.move(GENERIC_NNA, Stored(int32(INT8), 2.0**-5), 2.0**-3)
    np.testing.assert_array_equal(ours, divide(INT8, 4, AWAY))


def test_a_missing_unit_names_the_chip_and_the_mend():
    spec = replace(GENERIC_NNA, operators=frozenset(Operator) - {Operator.TANH})
    with pytest.raises(ValueError, match=r"generic_nna has no tanh; .* CPU"):
        kernels.unit(spec, Role.GATE, Operator.TANH)


def test_a_missing_operator_names_the_chip():
    spec = replace(GENERIC_NNA, operators=frozenset(Operator) - {Operator.ADD, Operator.MUL})
    x = Stored(int32(INT8), 1.0)
    for kernel, name in ((kernels.add, "add"), (kernels.mul, "mul")):
        with pytest.raises(ValueError, match=f"generic_nna has no {name}; "):
            kernel(spec, x, x, Role.CELL, 1.0)


def test_roles_that_take_no_products():
    with pytest.raises(ValueError, match="generic_nna writes no products to JOINT_PRE"):
        kernels.store(GENERIC_NNA, Accumulated(int32(INT8), 1.0), Role.JOINT_PRE, 1.0)
