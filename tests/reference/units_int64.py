"""NumPy int64 oracles of the sigmoid and tanh units of our own, from their definitions.

All of them are computed on the magnitude and carried over to negative inputs: tanh(-x) = -tanh(x),
sigmoid(-x) = 1 - sigmoid(x).
"""

import math

import numpy as np

from rnnt_qat.fixedpoint.activation import Function
from tests.reference.fixedpoint_int64 import divide


def exact(function, x):
    x = np.asarray(x, np.float64)
    return np.tanh(x) if function is Function.TANH else 1 / (1 + np.exp(-x))


def with_sign(unit, x, positive, out_bits):
    one = 0 if unit.function is Function.TANH else 2**out_bits
    return np.where(x >= 0, positive, one - positive)


def table(unit, entries, reach, out_bits):
    nodes = exact(unit.function, np.arange(entries + 1) * reach / entries) * 2**out_bits
    return np.minimum(np.floor(nodes + 0.5), 2**out_bits - 1).astype(np.int64)


def position(x, frac_bits, entries, reach):
    """Segment, place in it, and its length, in input steps."""
    if entries > reach * 2**frac_bits:  # every input is an entry
        index = np.minimum(np.abs(x), reach * 2**frac_bits - 1) * entries // (reach * 2**frac_bits)
        return index, np.zeros_like(index), 1
    step = reach * 2**frac_bits // entries
    return (*np.divmod(np.minimum(np.abs(x), reach * 2**frac_bits - 1), step), step)


def interpolated(unit, x, frac_bits, *, entries, reach, out_bits=15):
    """Lines between the table's entries."""
    nodes = table(unit, entries, reach, out_bits)
    index, part, step = position(x, frac_bits, entries, reach)
    weighted = nodes[index] * (step - part) + nodes[index + 1] * part
    return with_sign(unit, x, divide(weighted, step, unit.rounding), out_bits)


def nearest(unit, x, frac_bits, *, entries, reach, out_bits=15):
    """The nearest entry, the larger of two."""
    nodes = table(unit, entries, reach, out_bits)
    index, part, step = position(x, frac_bits, entries, reach)
    return with_sign(unit, x, nodes[index + (2 * part >= step)], out_bits)


def lines(unit, x, frac_bits, *, lines):
    """``offset + |x| / 2^shift`` of the line that the magnitude lies on, rounded once."""
    out_bits, doubled = unit.output.fixed_frac_bits, unit.function is Function.TANH
    # In steps so fine that offsets, starts and every slope are whole; tanh(x) = 2 sigmoid(2x) - 1.
    fine = frac_bits + 12
    argument = np.abs(x).astype(np.int64) * 2 ** (fine - frac_bits + doubled)
    value = np.zeros_like(argument)
    for line in lines:
        offset, start = (round(math.ldexp(real, fine)) for real in (line.offset, line.start))
        slanted = 0 if line.slope_shift is None else argument // 2**line.slope_shift
        value = np.where(argument >= start, offset + slanted, value)
    value = 2 * value - 2**fine if doubled else value
    rounded = divide(value, 2 ** (fine - out_bits), unit.rounding)
    return with_sign(unit, x, np.minimum(rounded, 2**out_bits - 1), out_bits)
