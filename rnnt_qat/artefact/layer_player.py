"""Layers computed in NumPy: the reference for firmware.

Every function takes and returns the integers that the chip's memory holds; no float carries a value
between operators. States are explicit. Tests compare the results with LiteRT and TFLM, bit for bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact import rescaling as fixed
from rnnt_qat.artefact.arithmetic import Arithmetic
from rnnt_qat.artefact.fused_lstm_units import lstm_sigmoid, lstm_tanh
from rnnt_qat.artefact.layer_integers import (
    GATE,
    GATE_PRE,
    DenseIntegers,
    LstmIntegers,
    RecurrentIntegers,
)
from rnnt_qat.artefact.recorded_layer import RecordedLayer, play_recorded
from rnnt_qat.artefact.runtime_arithmetic import RuntimeArithmetic
from rnnt_qat.artefact.tensor_format import TensorFormat


@dataclass(frozen=True, eq=False)
class LstmState:
    """State of one LSTM layer, as integers in the layer's formats.

    Attributes:
      hidden: hidden state.
      cell: cell state.
    """

    hidden: Integer[np.ndarray, "H"]
    cell: Integer[np.ndarray, "H"]


Recorder = Callable[[str, np.ndarray], None]
"""Called with the name that the graphs give to an intermediate result, and its values."""


def ignore(name: str, values: np.ndarray) -> None:
    """Records nothing."""


def initial_lstm_state(layer: LstmIntegers) -> LstmState:
    """Returns the integers of zero in the layer's formats."""
    hidden = np.full(layer.hidden_size, layer.hidden.zero_point, layer.hidden.dtype)
    return LstmState(hidden, np.zeros(layer.hidden_size, layer.cell.dtype))


LayerState = Mapping[str, np.ndarray]
"""States of one recurrent layer, by name."""


def initial_state(layer: RecurrentIntegers) -> LayerState:
    """Returns the integers of zero in the formats of a layer's states."""
    return {
        name: np.full(size, tensor_format.zero_point, tensor_format.dtype)
        for name, (size, tensor_format) in layer.state_formats.items()
    }


def play_layer(
    layer: RecurrentIntegers,
    xs: Integer[np.ndarray, "T D"],
    state: LayerState,
    arithmetic: Arithmetic,
    record: Recorder = ignore,
) -> tuple[Integer[np.ndarray, "T H"], LayerState]:
    """Computes a recurrent layer of any kind over T frames.

    Args:
      layer: the layer.
      xs: inputs in the layer's input format.
      state: states before the first frame.
      arithmetic: arithmetic of the runtime.
      record: receives every intermediate result.

    Returns:
      Outputs of every frame and the states after the last.
    """
    if isinstance(layer, RecordedLayer):
        return play_recorded(layer, xs, state, arithmetic, record)
    assert isinstance(layer, LstmIntegers)
    ys, after = play_lstm(layer, xs, LstmState(**state), arithmetic, record)
    return ys, vars(after)


def play_lstm(
    layer: LstmIntegers,
    xs: Integer[np.ndarray, "T D"],
    state: LstmState,
    arithmetic: Arithmetic,
    record: Recorder = ignore,
) -> tuple[Integer[np.ndarray, "T H"], LstmState]:
    """Computes an LSTM layer over T frames.

    Args:
      layer: the layer.
      xs: inputs in the layer's input format.
      state: state before the first frame.
      arithmetic: arithmetic of the runtime.
      record: receives every intermediate result.

    Returns:
      Hidden states of every frame and the state after the last.
    """
    hiddens = np.empty((len(xs), layer.hidden_size), layer.hidden.dtype)
    if layer.is_wide:
        pre = play_dense(layer.input_projection(), xs, arithmetic)
        record("projected", pre)
        for t in range(len(xs)):
            state = _step_16x8(layer, pre[t], state, arithmetic, _under(record, str(t)))
            hiddens[t] = state.hidden
        return hiddens, state
    if not isinstance(arithmetic, RuntimeArithmetic):
        raise TypeError(
            f"{type(arithmetic).__name__} has no fused LSTM: its operators are separate"
        )
    pre = _fused_products(xs, layer.w_ih, layer.bias, layer, layer.input)
    for t in range(len(xs)):
        state = _step_fused(layer, pre[t], state, arithmetic)
        hiddens[t] = state.hidden
    return hiddens, state


def _step_16x8(
    layer: LstmIntegers,
    projected: Integer[np.ndarray, "4H"],
    state: LstmState,
    arithmetic: Arithmetic,
    record: Recorder,
) -> LstmState:
    """Computes one step operator by operator: int16 activations, int8 weights."""
    recurred = play_dense(layer.recurrent_projection(), state.hidden[None], arithmetic)[0]
    pre = arithmetic.add(projected, recurred, (GATE_PRE, GATE_PRE, GATE_PRE))
    i, f, g, o = pre.reshape(4, -1)
    i, f, o = (arithmetic.logistic(pre, GATE_PRE) for pre in (i, f, o))
    g = arithmetic.tanh(g, GATE_PRE, GATE)
    cell = layer.cell
    kept = arithmetic.mul(f, state.cell, (GATE, cell, cell))
    written = arithmetic.mul(i, g, (GATE, GATE, cell))
    new_cell = arithmetic.add(kept, written, (cell, cell, cell))
    squashed = arithmetic.tanh(new_cell, cell, GATE)
    hidden = arithmetic.mul(o, squashed, (GATE, GATE, layer.hidden))
    for site, values in {
        "recurred": recurred,
        "pre": pre,
        "i": i,
        "f": f,
        "g": g,
        "o": o,
        "kept": kept,
        "written": written,
        "cell": new_cell,
        "tanh_cell": squashed,
        "hidden": hidden,
    }.items():
        record(site, values[None])
    return LstmState(hidden, new_cell)


def _step_fused(
    layer: LstmIntegers,
    projected: Integer[np.ndarray, "4 H"],
    state: LstmState,
    arithmetic: RuntimeArithmetic,
) -> LstmState:
    """Computes one step of the fused LSTM: int8 input and hidden state, int16 gates and cell."""
    recurred = _fused_products(state.hidden[None], layer.w_hh, None, layer, layer.hidden)[0]
    if arithmetic.lstm_saturates_each_product:
        recurred = fixed.saturate(recurred, GATE_PRE)
    pre = fixed.saturate(fixed.saturate(projected, GATE_PRE).astype(np.int64) + recurred, GATE_PRE)
    activation = arithmetic.lstm_activation
    i, f, o = (lstm_sigmoid(pre[gate], activation).astype(np.int64) for gate in (0, 1, 3))
    g = lstm_tanh(pre[2], GATE_PRE.scale, activation)
    kept = _cell_product(f, state.cell, GATE.scale, arithmetic)
    written = _cell_product(i, g, GATE.scale**2 / layer.cell.scale, arithmetic)
    cell = fixed.saturate(kept + written, layer.cell)
    squashed = lstm_tanh(cell, layer.cell.scale, activation)
    # Rescales o tanh(c) from 2^-30 to the scale of the hidden state.
    ratio = arithmetic.ratio(GATE.scale, GATE.scale, layer.hidden.scale)
    hidden = fixed.multiply_by_multiplier(o * squashed, *fixed.quantize_multiplier(ratio))
    return LstmState(fixed.saturate(hidden + layer.hidden.zero_point, layer.hidden), cell)


def _fused_products(
    xs: Integer[np.ndarray, "T K"],
    weights: Integer[np.ndarray, "4 H K"],
    bias: Integer[np.ndarray, "4 H"] | None,
    layer: LstmIntegers,
    tensor_format: TensorFormat,
) -> Integer[np.ndarray, "T 4 H"]:
    """Computes ``W x + b`` of each gate, rescaled to Q3.12 in int64, without saturation."""
    scales = layer.w_hh_scale if bias is None else layer.w_ih_scale
    inputs = weights.shape[-1]
    added = None if bias is None else bias.reshape(-1)
    sums = fixed.accumulate(xs, weights.reshape(-1, inputs), added, tensor_format.zero_point)
    gates = sums.reshape(len(xs), len(scales), -1)
    for gate, scale in enumerate(scales):
        ratio = float(np.float32(scale) * np.float32(tensor_format.scale)) / GATE_PRE.scale
        gates[:, gate] = fixed.multiply_by_multiplier(
            gates[:, gate], *fixed.quantize_multiplier(ratio)
        )
    return gates


def _cell_product(
    a: np.ndarray, b: np.ndarray, ratio: float, arithmetic: RuntimeArithmetic
) -> np.ndarray:
    """Computes ``a b ratio`` for a power-of-two ratio, saturated to int16."""
    product = a * b.astype(np.int64)
    if arithmetic.lstm_rounds_cell_twice:
        scaled = fixed.multiply_by_multiplier(product, *fixed.quantize_multiplier(ratio))
    else:
        shift = 1 - int(np.frexp(ratio)[1])
        scaled = fixed.rounding_divide_by_power_of_two(product, shift)
    return np.clip(scaled, -32768, 32767)


def play_dense(
    layer: DenseIntegers, x: Integer[np.ndarray, "N K"], arithmetic: Arithmetic
) -> Integer[np.ndarray, "N M"]:
    """Computes a dense layer.

    Args:
      layer: the layer.
      x: inputs in the layer's input format.
      arithmetic: arithmetic of the runtime.
    """
    return arithmetic.dense(x, layer.weights, layer.bias, layer.formats)


def _under(record: Recorder, prefix: str) -> Recorder:
    return lambda name, values: record(f"{prefix}/{name}", values)
