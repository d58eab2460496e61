"""LSTM and dense layers as `.tflite` graphs, in the two public integer shapes.

``fused_lstm`` is LiteRT's UNIDIRECTIONAL_SEQUENCE_LSTM with int8 inputs, hidden state and weights
and an int16 cell ("8x8_16"); ``lstm_step_16x8`` is one step written operator by operator with
int16 activations and int8 weights ("16x8"). Both take one ``LstmIntegers``; gates are ordered
i, f, g, o (input, forget, cell candidate, output), as in LiteRT.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from rnnt_qat.export.tflite_graph import GraphBuilder, Tensor, TensorFormat

GATE_NAMES = ("i", "f", "g", "o")
GATE_PRE = TensorFormat(np.int16, 2.0**-12)
"""Gate pre-activations: Q3.12, what the 16-bit sigmoid and tanh tables are made for."""
GATE = TensorFormat(np.int16, 2.0**-15)
"""Gates: Q0.15, what those tables return."""


@dataclass(frozen=True, eq=False)
class LstmIntegers:
    """One LSTM layer in integers with the real value of one step of each.

    Attributes:
      w_ih: int8 input weights in [-127, 127], gate, unit, input.
      w_hh: int8 recurrent weights in [-127, 127], gate, unit, unit.
      bias: at scale ``input.scale * w_ih_scale`` of its gate; int32 (8x8_16) or int64 (16x8).
      input: format of the inputs, int8 or int16.
      hidden: format of the hidden state, int8 or int16.
      cell: format of the cell, int16, a power of two (2^-11 by habit: a range of +-16).
      w_ih_scale: scale of the input weights, one a gate.
      w_hh_scale: scale of the recurrent weights, one a gate.
    """

    w_ih: Integer[np.ndarray, "4 H D"]
    w_hh: Integer[np.ndarray, "4 H H"]
    bias: Integer[np.ndarray, "4 H"]
    input: TensorFormat
    hidden: TensorFormat
    cell: TensorFormat
    w_ih_scale: Float[np.ndarray, "4"]
    w_hh_scale: Float[np.ndarray, "4"]

    def __post_init__(self) -> None:
        four, hidden, inputs = self.w_ih.shape
        expected = {
            "w_hh": (4, hidden, hidden),
            "bias": (4, hidden),
            "w_ih_scale": (4,),
            "w_hh_scale": (4,),
        }
        if four != 4:
            raise ValueError(f"LstmIntegers.w_ih is {self.w_ih.shape}, expected (4, H, {inputs})")
        for field, shape in expected.items():
            if getattr(self, field).shape != shape:
                found = getattr(self, field).shape
                raise ValueError(f"LstmIntegers.{field} is {found}, w_ih asks for {shape}")

    @property
    def input_size(self) -> int:
        """Width of the inputs."""
        return self.w_ih.shape[2]

    @property
    def hidden_size(self) -> int:
        """Width of the hidden state."""
        return self.w_ih.shape[1]


@dataclass(frozen=True, eq=False)
class DenseIntegers:
    """One dense layer in integers.

    Attributes:
      weights: int8 in [-127, 127], output by input.
      bias: at scale ``input.scale * weight_scale``; int32 under int8 inputs, int64 under int16;
        None for no bias.
      input: format of the inputs.
      output: format of the outputs.
      weight_scale: scale of the weights, of the whole matrix or one an output.
    """

    weights: Integer[np.ndarray, "M K"]
    bias: Integer[np.ndarray, "M"] | None
    input: TensorFormat
    output: TensorFormat
    weight_scale: Float[np.ndarray, "*M"]


def dense(graph: GraphBuilder, layer: DenseIntegers, x: Tensor, name: str) -> Tensor:
    """Adds a dense layer: ``[N, K] -> [N, M]`` in ``layer.output``."""
    weight_format, bias_format = _matmul_formats(layer.input, np.asarray(layer.weight_scale))
    weights = graph.constant(f"{name}/weights", layer.weights, weight_format)
    bias = None
    if layer.bias is not None:
        bias = graph.constant(f"{name}/bias", layer.bias, bias_format)
    return graph.fully_connected(x, weights, bias, layer.output, name)


def add_fused_lstm(graph: GraphBuilder, layer: LstmIntegers, x: Tensor, name: str) -> Tensor:
    """Adds a fused int8 LSTM over ``x`` ``[1, T, D]``; returns the hidden states ``[1, T, H]``.

    Its states ``{name}/hidden`` (int8) and ``{name}/cell`` (int16) live in the runtime.
    """
    constants: list[Tensor] = []
    for site, arrays, scales in (
        ("w_ih", layer.w_ih, layer.w_ih_scale),
        ("w_hh", layer.w_hh, layer.w_hh_scale),
    ):
        for gate, array, scale in zip(GATE_NAMES, arrays, scales, strict=True):
            format = TensorFormat(np.int8, float(scale))
            constants.append(graph.constant(f"{name}/{site}_{gate}", array, format))
    biases = []
    for gate, array, scale in zip(GATE_NAMES, layer.bias, layer.w_ih_scale, strict=True):
        format = TensorFormat(np.int32, float(_scale(layer.input) * scale))
        biases.append(graph.constant(f"{name}/bias_{gate}", array, format))
    batch = x.shape[0]
    hidden = graph.variable(f"{name}/hidden", (batch, layer.hidden_size), layer.hidden)
    cell = graph.variable(f"{name}/cell", (batch, layer.hidden_size), layer.cell)
    # Without layer normalisation the kernels read one of the five: the format of o * tanh(c).
    intermediates = [graph.intermediate(f"{name}/{gate}_pre", GATE_PRE) for gate in GATE_NAMES]
    intermediates.append(graph.intermediate(f"{name}/output", layer.hidden))
    no_peephole, no_projection, no_norm = [None] * 3, [None] * 2, [None] * 4
    inputs = [x, *constants, *no_peephole, *biases, *no_projection, hidden, cell, *no_norm]
    return graph.unidirectional_sequence_lstm(inputs, intermediates, name)


def input_projection_16x8(graph: GraphBuilder, layer: LstmIntegers, x: Tensor, name: str) -> Tensor:
    """Adds ``W_x x + b`` of all gates for every row of ``x``: ``[T, D] -> [T, 4H]``, Q3.12."""
    scale = _per_output(layer.w_ih_scale, layer.hidden_size)
    weights = layer.w_ih.reshape(-1, layer.input_size)
    projection = DenseIntegers(weights, layer.bias.reshape(-1), layer.input, GATE_PRE, scale)
    return dense(graph, projection, x, name)


def add_lstm_step_16x8(
    graph: GraphBuilder,
    layer: LstmIntegers,
    projected: Tensor,
    hidden: Tensor,
    cell: Tensor,
    name: str,
) -> tuple[Tensor, Tensor]:
    """Adds one 16x8 step from its input projection ``[1, 4H]``; returns the new (hidden, cell)."""
    scale = _per_output(layer.w_hh_scale, layer.hidden_size)
    weights = layer.w_hh.reshape(-1, layer.hidden_size)
    recurrent = DenseIntegers(weights, None, layer.hidden, GATE_PRE, scale)
    recurred = dense(graph, recurrent, hidden, f"{name}/recurred")
    pre = graph.add(projected, recurred, GATE_PRE, f"{name}/pre")
    pieces = graph.split(pre, 4, 1, [f"{name}/pre_{gate}" for gate in GATE_NAMES])
    i = graph.logistic(pieces[0], GATE, f"{name}/i")
    f = graph.logistic(pieces[1], GATE, f"{name}/f")
    g = graph.tanh(pieces[2], GATE, f"{name}/g")
    o = graph.logistic(pieces[3], GATE, f"{name}/o")
    kept = graph.mul(f, cell, layer.cell, f"{name}/kept")
    written = graph.mul(i, g, layer.cell, f"{name}/written")
    new_cell = graph.add(kept, written, layer.cell, f"{name}/cell_out")
    squashed = graph.tanh(new_cell, GATE, f"{name}/tanh_cell")
    new_hidden = graph.mul(o, squashed, layer.hidden, f"{name}/hidden_out")
    return new_hidden, new_cell


def fused_lstm(layer: LstmIntegers, steps: int = 1) -> bytes:
    """A graph of one fused LSTM: int8 ``[1, steps, D]`` to int8 ``[1, steps, H]``, state inside."""
    graph = GraphBuilder("fused_lstm")
    x = graph.input("x", (1, steps, layer.input_size), layer.input)
    return graph.finish([add_fused_lstm(graph, layer, x, "lstm")])


def lstm_step_16x8(layers: LstmIntegers | Sequence[LstmIntegers]) -> bytes:
    """A graph of one step of one or more stacked 16x8 LSTMs, states outside.

    Inputs: x int16 ``[1, D]``, then hidden ``[1, H]`` and cell ``[1, H]`` of each layer. Outputs:
    the new hidden and cell of each layer; the last hidden is the stack's output.
    """
    stack = [layers] if isinstance(layers, LstmIntegers) else list(layers)
    graph = GraphBuilder("lstm_step_16x8")
    x = graph.input("x", (1, stack[0].input_size), stack[0].input)
    states = [
        (
            graph.input(f"hidden_{n}", (1, layer.hidden_size), layer.hidden),
            graph.input(f"cell_{n}", (1, layer.hidden_size), layer.cell),
        )
        for n, layer in enumerate(stack)
    ]
    outputs: list[Tensor] = []
    for n, (layer, (hidden, cell)) in enumerate(zip(stack, states, strict=True)):
        projected = input_projection_16x8(graph, layer, x, f"lstm_{n}/projected")
        x, new_cell = add_lstm_step_16x8(graph, layer, projected, hidden, cell, f"lstm_{n}")
        outputs += [x, new_cell]
    return graph.finish(outputs)


def dense_graph(layer: DenseIntegers, rows: int = 1) -> bytes:
    """A graph of one dense layer: ``[rows, K] -> [rows, M]``."""
    graph = GraphBuilder("dense")
    x = graph.input("x", (rows, layer.weights.shape[1]), layer.input)
    return graph.finish([dense(graph, layer, x, "y")])


def _matmul_formats(input: TensorFormat, scale: np.ndarray) -> tuple[TensorFormat, TensorFormat]:
    wide = np.int64 if np.dtype(input.dtype) == np.int16 else np.int32
    product = _scale(input) * scale
    if scale.ndim == 0:
        return TensorFormat(np.int8, float(scale)), TensorFormat(wide, float(product))
    return TensorFormat(np.int8, tuple(scale.tolist())), TensorFormat(wide, tuple(product.tolist()))


def _per_output(gate_scale: np.ndarray, hidden: int) -> np.ndarray:
    """One scale of the whole matrix where the gates share it, else one an output row."""
    shared = bool(np.all(gate_scale == gate_scale[0]))
    return gate_scale[0] if shared else np.repeat(gate_scale, hidden)


def _scale(format: TensorFormat) -> float:
    if not isinstance(format.scale, float):
        raise ValueError(f"an LSTM's or dense layer's input needs one scale, not {format.scale}")
    return format.scale
