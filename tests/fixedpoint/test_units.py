"""What every sigmoid and tanh unit must be: near its function, odd about its middle, in range."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint import tabulate
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.gemmlowp import GemmlowpActivation
from rnnt_qat.fixedpoint.int8_table import Int8Table
from rnnt_qat.fixedpoint.interpolated_table import InterpolatedTable
from rnnt_qat.fixedpoint.litert_table import LitertTable
from rnnt_qat.fixedpoint.piecewise import HARD, PLAN, PiecewiseLinear
from rnnt_qat.fixedpoint.qformat import Q0_7, QFormat
from rnnt_qat.fixedpoint.rounding import Rounding
from tests.reference import units_int64 as oracle

Q3_12, Q4_11, Q4_3 = QFormat(16, 12), QFormat(16, 11), QFormat(8, 3)
SIGMOID, TANH = Function.SIGMOID, Function.TANH

# Unit, input, largest error against the real function in steps of the output, seen and kept.
UNITS = [
    (GemmlowpActivation(SIGMOID), Q3_12, 6.4),
    (GemmlowpActivation(TANH), Q3_12, 11.8),
    (GemmlowpActivation(TANH), Q4_11, 11.6),
    (LitertTable(SIGMOID), Q3_12, 1.1),
    (LitertTable(TANH), Q3_12, 1.5),
    (LitertTable(TANH), Q4_11, 1.5),
    (InterpolatedTable(SIGMOID, range_bits=3), Q3_12, 1.3),
    (InterpolatedTable(TANH, range_bits=4), Q3_12, 13.0),
    (InterpolatedTable(TANH, range_bits=3, output=Q0_7), Q3_12, 1.1),
    (InterpolatedTable(TANH, range_bits=3, output=Q0_7, interpolate=False), Q3_12, 2.4),
    (PiecewiseLinear(SIGMOID, PLAN), Q3_12, 0.0190 * 2**15),
    (PiecewiseLinear(TANH, PLAN), Q3_12, 0.0380 * 2**15),
    (PiecewiseLinear(SIGMOID, HARD), Q3_12, 0.1193 * 2**15),
    (PiecewiseLinear(TANH, HARD), Q3_12, 0.2385 * 2**15),
    (Int8Table(TANH), QFormat(8, 5), 0.5),
]


def ids(case):
    unit, input_format, _ = case
    return f"{type(unit).__name__}-{unit.function.value}-{input_format}"


@pytest.mark.parametrize(("unit", "input_format", "error"), UNITS, ids=[ids(c) for c in UNITS])
class TestEveryInput:
    def test_near_the_function(self, unit, input_format, error):
        x = np.arange(input_format.minimum, input_format.maximum + 1.0)
        real = unit.function.exact(x * 2.0**-input_format.frac_bits) * 2.0**unit.output.frac_bits
        real = np.minimum(real, unit.output.maximum)
        assert np.abs(tabulate.values(unit, input_format) - real).max() <= error

    def test_symmetric(self, unit, input_format, error):
        y = tabulate.values(unit, input_format).astype(int)[1:]
        one = 2**unit.output.frac_bits if unit.function is SIGMOID else 0
        # One step where the largest integer stands for one.
        assert np.abs(y + y[::-1] - one).max() <= 1

    def test_slope_is_the_rise_of_the_curve(self, unit, input_format, error):
        noise = {GemmlowpActivation: 16, Int8Table: 4}.get(type(unit), 2)
        y = tabulate.values(unit, input_format) * 2.0**-unit.output.frac_bits
        slope = tabulate.slopes(unit, input_format)
        # Over some input steps and away from kinks, rise and slope agree to the noise of the ends.
        reach = max(input_format.maximum // 1024, 2)
        run = 2 * reach * 2.0**-input_format.frac_bits
        rise = (y[2 * reach :] - y[: -2 * reach]) / run
        tolerance = 2 * noise * 2.0**-unit.output.frac_bits / run
        assert np.quantile(np.abs(rise - slope[reach:-reach]), 0.9) <= tolerance + 0.005

    def test_looked_up_is_evaluated(self, unit, input_format, error):
        x = jnp.arange(input_format.minimum, input_format.maximum + 1, 97, dtype=jnp.int32)
        looked_up = tabulate.look_up(tabulate.values(unit, input_format), x, input_format)
        np.testing.assert_array_equal(looked_up, unit(x, input_format.frac_bits))


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize(
    ("unit", "input_format", "expected"),
    [
        (InterpolatedTable(SIGMOID), Q3_12, partial(oracle.interpolated, entries=256, reach=8)),
        (
            InterpolatedTable(TANH, entries_bits=9, range_bits=4),
            Q4_11,
            partial(oracle.interpolated, entries=512, reach=16),
        ),
        (
            InterpolatedTable(TANH, output=Q0_7),
            Q3_12,
            partial(oracle.interpolated, entries=256, reach=8, out_bits=7),
        ),
        (
            InterpolatedTable(TANH, output=Q0_7, interpolate=False),
            Q3_12,
            partial(oracle.nearest, entries=256, reach=8, out_bits=7),
        ),
        (
            InterpolatedTable(SIGMOID, entries_bits=5, range_bits=4, interpolate=False),
            Q4_11,
            partial(oracle.nearest, entries=32, reach=16),
        ),
        (
            InterpolatedTable(TANH, entries_bits=9, range_bits=4),
            Q4_3,
            partial(oracle.interpolated, entries=512, reach=16),
        ),
        (
            InterpolatedTable(SIGMOID, range_bits=4, output=Q0_7, interpolate=False),
            Q4_3,
            partial(oracle.nearest, entries=256, reach=16, out_bits=7),
        ),
        (PiecewiseLinear(TANH, PLAN, output=Q0_7), Q4_3, partial(oracle.lines, lines=PLAN)),
        (PiecewiseLinear(TANH, PLAN), QFormat(6, 1), partial(oracle.lines, lines=PLAN)),
        (PiecewiseLinear(SIGMOID, HARD, output=Q0_7), Q4_3, partial(oracle.lines, lines=HARD)),
        (PiecewiseLinear(SIGMOID, PLAN), Q3_12, partial(oracle.lines, lines=PLAN)),
        (PiecewiseLinear(TANH, PLAN), Q4_11, partial(oracle.lines, lines=PLAN)),
        (PiecewiseLinear(TANH, HARD, output=Q0_7), Q3_12, partial(oracle.lines, lines=HARD)),
    ],
)
def test_every_input_equals_the_definition_in_int64(unit, input_format, expected, rounding):
    """The Ethos-U units are compared with LiteRT's own kernels, likewise at every input."""
    unit = replace(unit, rounding=rounding)
    unit.check_input(input_format)
    x = np.arange(input_format.minimum, input_format.maximum + 1)
    ours = unit(jnp.asarray(x, jnp.int32), input_format.frac_bits)
    np.testing.assert_array_equal(ours, expected(unit, x, input_format.frac_bits))
    np.testing.assert_array_equal(tabulate.values(unit, input_format), ours)


@pytest.mark.parametrize(
    ("unit", "input_format", "message"),
    [
        (GemmlowpActivation(SIGMOID), QFormat(16, 5), "Q0.15 to Q6.9"),
        (GemmlowpActivation(SIGMOID), QFormat(16), "Q0.15 to Q6.9"),
        (LitertTable(TANH), QFormat(16), "Qm.n"),
        (InterpolatedTable(TANH, range_bits=2), Q3_12, r"ends at 2\^2"),
        (PiecewiseLinear(TANH), QFormat(8), "fixed format"),
        (Int8Table(TANH), Q3_12, "up to 8 bits"),
    ],
)
def test_formats_that_a_unit_cannot_read(unit, input_format, message):
    with pytest.raises(ValueError, match=message):
        unit.check_input(input_format)


def test_int8_table_takes_a_scale_of_the_program():
    x = jnp.arange(-128, 128, dtype=jnp.int32)
    for frac_bits in (3, 5):
        np.testing.assert_array_equal(
            Int8Table(TANH)(x, jnp.int32(frac_bits)),
            tabulate.values(Int8Table(TANH), QFormat(8, frac_bits)),
        )


@pytest.mark.parametrize("function", Function)
def test_int8_tables_are_computed_alike_without_a_lookup(function):
    x, unit = jnp.arange(-128, 128, dtype=jnp.int32), Int8Table(function)
    computed = jax.jit(unit.computed)
    for frac_bits in range(-3, 20):  # beyond the ends the last table stands for the rest
        np.testing.assert_array_equal(computed(x, jnp.int32(frac_bits)), unit(x, frac_bits))


def test_hard_units_are_their_definition():
    x = np.arange(-(2**15), 2**15)
    hard_tanh = tabulate.values(PiecewiseLinear(TANH, HARD), Q3_12)
    np.testing.assert_array_equal(hard_tanh, np.clip(x * 8, -32767, 32767))
    hard_sigmoid = tabulate.values(PiecewiseLinear(SIGMOID, HARD), Q3_12)
    np.testing.assert_array_equal(hard_sigmoid, np.clip(x * 2 + 2**14, 1, 32767))


def test_lines_that_do_not_start_at_zero_are_refused():
    with pytest.raises(ValueError, match="start at 0"):
        PiecewiseLinear(TANH, PLAN[1:])
