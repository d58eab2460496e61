"""A chip's LSTM step against the same layer in a `.tflite`, over 200 steps with carried state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_8x8_16_tflm import ETHOS_U_8X8_16_TFLM
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.lstm import LstmParameters, lstm_step
from rnnt_qat.export.integers import LstmIntegers
from rnnt_qat.export.lstm_graphs import fused_lstm, lstm_step_16x8
from rnnt_qat.export.runtimes import LiteRt, Tflm
from rnnt_qat.export.tensor_format import TensorFormat
from rnnt_qat.fixedpoint import wide

STEPS = 200


def significant(x: np.ndarray, bits: int) -> np.ndarray:
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.ceil(fraction * 2**bits) / 2**bits, exponent).astype(np.float32)


def random_layer(
    rng, inputs, hidden, input_scale, hidden_scale, weight_scale, dtype
) -> LstmIntegers:
    is_wide = dtype == np.int16
    scales = [
        significant(rng.uniform(weight_scale / 2, weight_scale, 4), 15 if is_wide else 24)
        for _ in range(2)
    ]
    # Real biases between -2 and 2, whatever the accumulator's scale.
    reach = 2 / (input_scale * weight_scale)
    return LstmIntegers(
        w_ih=rng.integers(-127, 128, (4, hidden, inputs)).astype(np.int8),
        w_hh=rng.integers(-127, 128, (4, hidden, hidden)).astype(np.int8),
        bias=rng.integers(-reach, reach, (4, hidden)).astype(np.int64 if is_wide else np.int32),
        input=TensorFormat(dtype, input_scale),
        hidden=TensorFormat(dtype, hidden_scale),
        cell=TensorFormat(np.int16, 2.0**-11),
        w_ih_scale=scales[0],
        w_hh_scale=scales[1],
    )


def parameters(layer: LstmIntegers) -> LstmParameters:
    """The same integers with gates side by side."""

    def columns(w):
        return jnp.asarray(w.reshape(-1, w.shape[-1]).T)

    def a_column(scale):
        return jnp.asarray(np.repeat(scale, layer.hidden_size), jnp.float32)

    bias = layer.bias.reshape(-1)
    if layer.is_wide:
        held = wide.Wide(
            jnp.asarray((bias >> 32).astype(np.int32)),
            jnp.asarray((bias & 0xFFFFFFFF).astype(np.uint32)),
        )
    else:
        held = jnp.asarray(bias)
    return LstmParameters(
        input_kernel=columns(layer.w_ih),
        recurrent_kernel=columns(layer.w_hh),
        bias=held,
        input_scale=layer.input.scale,
        hidden_scale=layer.hidden.scale,
        input_kernel_scale=a_column(layer.w_ih_scale),
        recurrent_kernel_scale=a_column(layer.w_hh_scale),
    )


def run_ours(spec, layer: LstmIntegers, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden and cell states after every step."""
    held = parameters(layer)

    @jax.jit
    def run(xs):
        def step(state, x):
            hidden, cell = lstm_step(spec, held, x, *state)
            new = (hidden.astype(xs.dtype), cell.astype(jnp.int16))
            return new, new

        zeros = (
            jnp.zeros((1, layer.hidden_size), xs.dtype),
            jnp.zeros((1, layer.hidden_size), jnp.int16),
        )
        return jax.lax.scan(step, zeros, xs[:, None])[1]

    hiddens, cells = run(jnp.asarray(xs))
    return np.asarray(hiddens)[:, 0], np.asarray(cells)[:, 0]


def check_lively(cells: np.ndarray):
    """The states move: nobody compares zeros or saturated cells."""
    assert cells.std() > 200
    assert np.mean(np.abs(cells) == 32767) < 0.5


LAYERS_8X8_16 = pytest.mark.parametrize(
    ("inputs", "hidden", "input_scale", "hidden_scale", "weight_scale"),
    [
        (40, 32, 2.0**-5, 2.0**-7, 0.003),
        (80, 128, 0.0373, 0.0071, 0.002),
        (13, 64, 0.1, 0.0078, 0.01),
        (160, 96, 0.011, 0.0042, 0.02),
    ],
)


@LAYERS_8X8_16
def test_fused_8x8_16(inputs, hidden, input_scale, hidden_scale, weight_scale):
    rng = np.random.default_rng(inputs)
    layer = random_layer(rng, inputs, hidden, input_scale, hidden_scale, weight_scale, np.int8)
    xs = rng.integers(-128, 128, (STEPS, inputs)).astype(np.int8)
    hiddens, cells = run_ours(ETHOS_U_8X8_16, layer, xs)
    check_lively(cells)
    runtime = LiteRt(fused_lstm(layer))
    for step in range(STEPS):
        (theirs,) = runtime.run(xs[None, step : step + 1])
        np.testing.assert_array_equal(hiddens[step], theirs[0, 0], err_msg=f"hidden, step {step}")
        cell = runtime.tensor("lstm/cell")[0]
        np.testing.assert_array_equal(cells[step], cell, err_msg=f"cell, step {step}")


@LAYERS_8X8_16
def test_8x8_16_in_tflm(inputs, hidden, input_scale, hidden_scale, weight_scale):
    rng = np.random.default_rng(inputs)
    layer = random_layer(rng, inputs, hidden, input_scale, hidden_scale, weight_scale, np.int8)
    xs = rng.integers(-128, 128, (STEPS, inputs)).astype(np.int8)
    hiddens, _ = run_ours(ETHOS_U_8X8_16_TFLM, layer, xs)
    runtime = Tflm(fused_lstm(layer))
    for step in range(STEPS):
        (theirs,) = runtime.run(xs[None, step : step + 1])
        np.testing.assert_array_equal(hiddens[step], theirs[0, 0], err_msg=f"hidden, step {step}")


@pytest.mark.parametrize("runtime_type", [LiteRt, Tflm])
@pytest.mark.parametrize(
    ("inputs", "hidden", "input_scale", "weight_scale"),
    [(40, 32, 2.0**-11, 0.003), (80, 128, 2.0**-12, 0.002), (64, 96, 2.0**-10, 0.006)],
)
def test_16x8_operator_by_operator(inputs, hidden, input_scale, weight_scale, runtime_type):
    rng = np.random.default_rng(inputs)
    layer = random_layer(rng, inputs, hidden, input_scale, 2.0**-15, weight_scale, np.int16)
    xs = rng.integers(-(2**15), 2**15, (STEPS, inputs)).astype(np.int16)
    hiddens, cells = run_ours(ETHOS_U_16X8, layer, xs)
    check_lively(cells)
    runtime = runtime_type(lstm_step_16x8(layer))
    state = (np.zeros((1, hidden), np.int16), np.zeros((1, hidden), np.int16))
    for step in range(STEPS):
        state = runtime.run(xs[step : step + 1], *state)
        np.testing.assert_array_equal(hiddens[step], state[0][0], err_msg=f"hidden, step {step}")
        np.testing.assert_array_equal(cells[step], state[1][0], err_msg=f"cell, step {step}")
