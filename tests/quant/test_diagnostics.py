import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.quant.diagnostics import DIAGNOSTICS, HISTOGRAM_BITS, Recorder, summarize
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.quant.sites import Role

SITES = {"x": Role.INPUT, "pre": Role.GATE_PRE, "gate": Role.GATE, "cell": Role.CELL}


def recorder(mask=None):
    ranges = {"x": jnp.float32(1.0)}
    noted = {}
    ops = OnAccelerator(GENERIC_NNA).operators(SITES, ranges)
    return Recorder(ops, noted.__setitem__, mask), noted


def test_what_storing_does_to_reals():
    ops, noted = recorder()
    stored = ops.store("x", jnp.asarray([0.5, 0.251, -1.0, 3.0, -3.0, 127 / 128]))
    tally = noted["x requantize"]
    assert float(tally.count) == 6
    assert float(tally.saturated) == 4  # -1, 3, -3 and the largest
    assert float(tally.clipped) == 2
    errors = np.asarray(stored.values * stored.scale) - [0.5, 0.251, -1.0, 3.0, -3.0, 127 / 128]
    assert float(tally.noise) == pytest.approx(float((errors**2).sum()))


def test_padding_does_not_count():
    ops, noted = recorder(jnp.asarray([[True, False], [True, True]]))
    ops.store("x", jnp.full((2, 2, 3), 9.0))
    assert float(noted["x requantize"].count) == float(noted["x requantize"].clipped) == 9


def test_ends_of_a_table():
    ops, noted = recorder()
    ops.sigmoid(ops.store("pre", jnp.asarray([-8.0, -0.1, 0.1, 9.0])), "gate")
    assert float(noted["gate sigmoid"].table_ends) == 2


def diagnose(name):
    policy = policy_by_name(name)
    xs, mask = 2 * jax.random.normal(jax.random.key(0), (2, 6, 3)), jnp.ones((2, 6), bool)
    mask = mask.at[1, 4:].set(False)
    variables = LSTM(FLOAT32, 5).init(jax.random.key(1), xs, mask)
    _, ranges = LSTM(policy.calibration(), 5).apply(variables, xs, mask, mutable=[QUANT_STATS])
    variables = {**variables, **ranges}
    noted = LSTM(policy.diagnosis(), 5)
    (ys, *_), tallies = jax.jit(lambda v: noted.apply(v, xs, mask, mutable=[DIAGNOSTICS]))(
        variables
    )
    plain, *_ = LSTM(policy, 5).apply(variables, xs, mask)
    assert np.array_equal(ys.values, plain.values)
    return {(d.tensor, d.operator): d for d in summarize(tallies[DIAGNOSTICS], policy)}, tallies


@pytest.mark.slow
def test_a_layer_step_by_step():
    found, tallies = diagnose("generic_nna")
    assert {
        ("input", "quantize"), ("input_kernel", "quantize"), ("recurrent_kernel", "quantize"),
        ("accumulator", "dot"), ("gate_input", "requantize"), ("gate_pre", "add"),
        ("gate", "sigmoid"), ("gate", "tanh"), ("cell", "mul"), ("cell", "add"),
        ("cell_tanh", "tanh"), ("hidden", "mul"),
    } == set(found)  # fmt: skip
    steps = tallies[DIAGNOSTICS]["hidden mul"].count
    assert float(steps) == (6 + 4) * 5
    assert 15 < found["accumulator", "dot"].headroom_bits < 31
    assert found["accumulator", "dot"].sqnr_db > 100  # exact but for the bias
    assert found["gate", "sigmoid"].sqnr_db > 50
    assert math.isinf(found["cell", "add"].sqnr_db)  # one grid: exact unless it saturates
    assert 20 < found["hidden", "mul"].sqnr_db < 60  # 8 bits
    assert found["hidden", "mul"].clip_rate == 0
    assert "/hidden/mul/sqnr_db" in dict(found["hidden", "mul"].metrics())


@pytest.mark.slow
def test_fewer_bits_are_noisier():
    eight, two = diagnose("generic_nna")[0], diagnose("generic_nna_w2")[0]
    assert two["input_kernel", "quantize"].sqnr_db < eight["input_kernel", "quantize"].sqnr_db - 20


def test_a_scale_raised_for_its_bias_is_said():
    noted = {}
    sites = SITES | {"w": Role.WEIGHT}
    plain = OnAccelerator(GENERIC_NNA).operators(sites, {"x": jnp.float32(1.0)})
    ops = Recorder(plain, noted.__setitem__)
    x = ops.store("x", jnp.ones((1, 2)))
    kernel, bias = jnp.full((2, 3), 1e-7), jnp.asarray([0.0, 1.0, -1e3])
    ops.weight("w", kernel)
    assert float(noted["w quantize"].raised) == 0.0
    ops.weight("w", kernel, x, bias)
    assert 5 < float(noted["w quantize"].raised) < 40


def test_histogram_of_magnitudes_against_the_range():
    ops, noted = recorder()
    ops.store("x", jnp.asarray([0.5, 0.251, -1.0, 3.0, -3.0, 0.0]))
    tally = noted["x requantize"]
    bound = 128 / 128  # the format's largest magnitude times its scale
    assert float(tally.bound) == bound
    bits = np.log2(np.maximum(np.abs([0.5, 0.251, -1.0, 3.0, -3.0, 0.0]), 1e-9) / bound)
    expected, _ = np.histogram(np.clip(bits, -20, 3.75), [*HISTOGRAM_BITS, 4.0])
    np.testing.assert_array_equal(tally.histogram, expected)


@pytest.mark.slow
def test_accumulators_have_a_range_and_a_histogram():
    found, _ = diagnose("generic_nna")
    row = found["accumulator", "dot"]
    assert row.bound > 0
    assert sum(row.histogram) > 0
    largest = max(b for b, n in zip(HISTOGRAM_BITS, row.histogram, strict=True) if n)
    # What the largest sum leaves unused is what the histogram leaves empty on its right.
    assert largest <= -row.headroom_bits < largest + 0.5
