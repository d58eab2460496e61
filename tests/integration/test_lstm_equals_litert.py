"""The LSTM layer that is trained and served, in a chip's integers, against the same `.tflite`.

Over 200 steps with carried state. It is ``layers.lstm.LSTM`` as ``serving.freeze`` leaves it; that
it computes in training what it serves is compared elsewhere, for every chip.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_8x8_16_tflm import ETHOS_U_8X8_16_TFLM
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import Grain
from rnnt_qat.artefact.layer_integers import LstmIntegers
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.lstm_graphs import fused_lstm, lstm_step_16x8
from rnnt_qat.fixedpoint import wide
from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.layers.lstm_scan import LSTMState
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.qtensor import QTensor
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.quant.scales import range_to_scale
from rnnt_qat.verify.runtimes import LiteRt, Tflm

STEPS = 200


def free_scales(spec):
    """The chip with any scale of inputs and hidden state, as its kernels allow."""
    formats = {
        Role.INPUT: {"power_of_two": False},
        Role.HIDDEN: {"power_of_two": False, "format": QFormat(8)},
    }
    tensors = tuple(replace(t, **formats.get(t.role, {})) for t in spec.tensors)
    return replace(spec, tensors=tensors)


def scales_a_gate(spec):
    """The chip with a scale a gate."""
    weights = replace(spec.tensor(Role.WEIGHT), grain=Grain.GATE)
    tensors = tuple(weights if t.role is Role.WEIGHT else t for t in spec.tensors)
    return replace(spec, tensors=tensors)


def range_of(spec, role, scale):
    """A range that gives a calibrated role a scale of about this, and the scale that it gives."""
    tensor = spec.tensor(role)
    max_abs = np.asarray(scale * tensor.format.maximum, np.float32)
    return max_abs, np.asarray(range_to_scale(tensor, jnp.asarray(max_abs)))[()]


def random_layer(spec, rng, inputs, hidden, scales) -> tuple[dict, LstmIntegers]:
    """Frozen variables of the layer, and the same integers as graphs are made of them."""
    gates = 4 if spec.tensor(Role.WEIGHT).grain is Grain.GATE else None
    smallest = 0.05 if gates else 0.5
    wanted = {
        "input": (Role.INPUT, scales["input"]),
        "hidden": (Role.HIDDEN, scales.get("hidden")),
        "input_kernel": (Role.WEIGHT, rng.uniform(smallest, 1, gates) * scales["kernel"]),
        "recurrent_kernel": (Role.WEIGHT, rng.uniform(smallest, 1, gates) * scales["kernel"]),
    }
    found = {
        site: range_of(spec, role, scale)
        for site, (role, scale) in wanted.items()
        if spec.tensor(role).calibrated
    }
    scale = {site: x for site, (_, x) in found.items()}
    if "hidden" not in scale:
        scale["hidden"] = spec.tensor(Role.HIDDEN).format.scale
    is_wide = spec.accumulator.bits > 32
    # Real biases between -2 and 2, whatever the accumulator's scale.
    reach = np.broadcast_to(2 / (scale["input"] * scale["input_kernel"]), 4).repeat(hidden)
    bias = rng.integers(-reach, reach, 4 * hidden)
    params = {
        "input_kernel": rng.integers(-127, 128, (inputs, 4 * hidden)).astype(np.int8),
        "recurrent_kernel": rng.integers(-127, 128, (hidden, 4 * hidden)).astype(np.int8),
        "bias": wide.Wide(
            jnp.asarray((bias >> 32).astype(np.int32)),
            jnp.asarray((bias & 0xFFFFFFFF).astype(np.uint32)),
        )
        if is_wide
        else bias.astype(np.int32),
    }
    ranges = {site: jnp.asarray(max_abs) for site, (max_abs, _) in found.items()}

    def by_gate(kernel):
        return np.ascontiguousarray(params[kernel].T.reshape(4, hidden, -1))

    dtype = np.dtype(spec.tensor(Role.INPUT).format.storage)
    integers = LstmIntegers(
        w_ih=by_gate("input_kernel"),
        w_hh=by_gate("recurrent_kernel"),
        bias=bias.reshape(4, hidden).astype(np.int64 if is_wide else np.int32),
        input=TensorFormat(dtype, np.float32(scale["input"])),
        hidden=TensorFormat(dtype, np.float32(scale["hidden"])),
        cell=TensorFormat(np.int16, 2.0**-11),
        w_ih_scale=np.broadcast_to(scale["input_kernel"], 4).astype(np.float32),
        w_hh_scale=np.broadcast_to(scale["recurrent_kernel"], 4).astype(np.float32),
    )
    return {"params": params, QUANT_STATS: ranges}, integers


def run_ours(spec, variables, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden and cell states of the served layer after every step."""
    policy = PrecisionPolicy("chip", (Rule("*", OnAccelerator(spec)),)).for_serving()
    layer = LSTM(policy, variables["params"]["recurrent_kernel"].shape[0])
    qformat = spec.tensor(Role.INPUT).format
    scale = range_to_scale(spec.tensor(Role.INPUT), variables[QUANT_STATS]["input"])

    @jax.jit
    def run(variables, xs):
        def step(state, x):
            heard = QTensor(x[None, None], scale, format=qformat)
            _, _, state = layer.apply(variables, heard, jnp.ones((1, 1), bool), state)
            return state, state

        return jax.lax.scan(step, layer.bind({}).initial_state(1), xs)[1]

    states = run(variables, jnp.asarray(xs))
    return np.asarray(states.hidden)[:, 0], np.asarray(states.cell)[:, 0]


def step_ours(spec, variables, x, hidden, cell) -> tuple[np.ndarray, np.ndarray]:
    """Hidden and cell states of the served layer one step after these, a row a stream."""
    policy = PrecisionPolicy("chip", (Rule("*", OnAccelerator(spec)),)).for_serving()
    layer = LSTM(policy, variables["params"]["recurrent_kernel"].shape[0])
    tensor = spec.tensor(Role.INPUT)
    scale = range_to_scale(tensor, variables[QUANT_STATS]["input"])
    xs = QTensor(jnp.asarray(x)[:, None], scale, format=tensor.format)
    mask, state = jnp.ones((len(x), 1), bool), LSTMState(jnp.asarray(hidden), jnp.asarray(cell))
    _, _, after = jax.jit(layer.apply)(variables, xs, mask, state)
    return np.asarray(after.hidden), np.asarray(after.cell)


def check_lively(cells: np.ndarray):
    """The states move: nobody compares zeros or saturated cells."""
    assert cells.std() > 200
    assert np.mean(np.abs(cells) == 32767) < 0.5


LAYERS_8X8_16 = [
    (40, 32, {"input": 2.0**-5, "kernel": 0.003}),
    (80, 128, {"input": 0.0373, "hidden": 0.0071, "kernel": 0.002}),
    (13, 64, {"input": 0.1, "hidden": 0.0078, "kernel": 0.01}),
    (160, 96, {"input": 0.011, "hidden": 0.0042, "kernel": 0.02}),
    (40, 32, {"input": 2.0**-5, "kernel": 0.01, "a_gate": True}),
]
FREE_SCALES_A_GATE = (13, 64, {"input": 0.1, "hidden": 0.0078, "kernel": 0.03, "a_gate": True})


def problem_8x8_16(spec, inputs, hidden, scales):
    """The chip, and a layer on it with inputs of every size."""
    rng = np.random.default_rng(inputs)
    spec = free_scales(spec) if "hidden" in scales else spec
    spec = scales_a_gate(spec) if "a_gate" in scales else spec
    layer = random_layer(spec, rng, inputs, hidden, scales)
    return spec, *layer, rng.integers(-128, 128, (STEPS, inputs)).astype(np.int8)


@pytest.mark.parametrize(("inputs", "hidden", "scales"), [*LAYERS_8X8_16, FREE_SCALES_A_GATE])
def test_fused_8x8_16(inputs, hidden, scales):
    spec, variables, layer, xs = problem_8x8_16(ETHOS_U_8X8_16, inputs, hidden, scales)
    hiddens, cells = run_ours(spec, variables, xs)
    check_lively(cells)
    runtime = LiteRt(fused_lstm(layer))
    for step in range(STEPS):
        (theirs,) = runtime.run(xs[None, step : step + 1])
        np.testing.assert_array_equal(hiddens[step], theirs[0, 0], err_msg=f"hidden, step {step}")
        cell = runtime.tensor("lstm/cell")[0]
        np.testing.assert_array_equal(cells[step], cell, err_msg=f"cell, step {step}")


# TFLM forms ratios of scales in double precision, LiteRT in float32. Where one factor alone is no
# power of two, as on the chip, the two are the same ratio; with free scales they are not.
@pytest.mark.parametrize(("inputs", "hidden", "scales"), [*LAYERS_8X8_16, FREE_SCALES_A_GATE])
def test_8x8_16_in_tflm(inputs, hidden, scales):
    tflm = replace(ETHOS_U_8X8_16_TFLM, double_ratios="hidden" in scales)
    spec, variables, layer, xs = problem_8x8_16(tflm, inputs, hidden, scales)
    with jax.enable_x64(spec.double_ratios):
        hiddens, _ = run_ours(spec, variables, xs)
    runtime = Tflm(fused_lstm(layer))
    for step in range(STEPS):
        (theirs,) = runtime.run(xs[None, step : step + 1])
        np.testing.assert_array_equal(hiddens[step], theirs[0, 0], err_msg=f"hidden, step {step}")


def test_ratios_in_double_precision_need_it():
    spec, variables, _, xs = problem_8x8_16(
        replace(ETHOS_U_8X8_16_TFLM, double_ratios=True), *LAYERS_8X8_16[0]
    )
    with pytest.raises(ValueError, match=r"jax\.enable_x64"):
        run_ours(spec, variables, xs)


@pytest.mark.parametrize(
    ("inputs", "hidden", "input_scale", "kernel_scale", "spec"),
    [
        (40, 32, 2.0**-11, 0.003, ETHOS_U_16X8),
        (80, 128, 2.0**-12, 0.002, ETHOS_U_16X8),
        (64, 96, 2.0**-10, 0.006, ETHOS_U_16X8),
        (40, 32, 2.0**-11, 0.01, scales_a_gate(ETHOS_U_16X8)),
    ],
)
def test_16x8_operator_by_operator(inputs, hidden, input_scale, kernel_scale, spec):
    rng = np.random.default_rng(inputs)
    scales = {"input": input_scale, "kernel": kernel_scale}
    variables, layer = random_layer(spec, rng, inputs, hidden, scales)
    xs = rng.integers(-(2**15), 2**15, (STEPS, inputs)).astype(np.int16)
    hiddens, cells = run_ours(spec, variables, xs)
    check_lively(cells)
    for runtime_type in (LiteRt, Tflm):
        runtime = runtime_type(lstm_step_16x8(layer))
        state = (np.zeros((1, hidden), np.int16), np.zeros((1, hidden), np.int16))
        for step in range(STEPS):
            state = runtime.run(xs[step : step + 1], *state)
            for ours, theirs, name in zip((hiddens, cells), state, "hc", strict=True):
                np.testing.assert_array_equal(ours[step], theirs[0], err_msg=f"{name}, {step}")
