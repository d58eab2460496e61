"""LSTM and dense layers as `.tflite` graphs, in the two public integer shapes.

``fused_lstm`` is LiteRT's UNIDIRECTIONAL_SEQUENCE_LSTM with int8 inputs, hidden state and weights
and an int16 cell ("8x8_16"); ``lstm_step_16x8`` is one step written operator by operator with
int16 activations and int8 weights ("16x8"). Both take one ``LstmIntegers``; gates are ordered
i, f, g, o (input, forget, cell candidate, output), as in LiteRT.
"""

from collections.abc import Sequence

import numpy as np

from rnnt_qat.export.integers import (
    GATE,
    GATE_NAMES,
    GATE_PRE,
    DenseIntegers,
    LstmIntegers,
)
from rnnt_qat.export.tensor_format import TensorFormat
from rnnt_qat.export.tflite_graph import GraphBuilder, Tensor


def dense(graph: GraphBuilder, layer: DenseIntegers, x: Tensor, name: str) -> Tensor:
    """Adds a dense layer: ``[N, K] -> [N, M]`` in ``layer.output``."""
    _, weight_format, _ = layer.formats
    weights = graph.constant(f"{name}/weights", layer.weights, weight_format)
    bias = None
    if layer.bias is not None:
        product = np.float32(layer.input.scale) * np.float32(weight_format.scale)
        format = TensorFormat(layer.bias.dtype, product)
        bias = graph.constant(f"{name}/bias", layer.bias, format)
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
            format = TensorFormat(np.int8, scale)
            constants.append(graph.constant(f"{name}/{site}_{gate}", array, format))
    biases = []
    for gate, array, scale in zip(GATE_NAMES, layer.bias, layer.w_ih_scale, strict=True):
        format = TensorFormat(np.int32, layer.input.scale * scale)
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


def add_lstm_step_16x8(
    graph: GraphBuilder,
    layer: LstmIntegers,
    projected: Tensor,
    hidden: Tensor,
    cell: Tensor,
    name: str,
) -> tuple[Tensor, Tensor]:
    """Adds one 16x8 step from its input projection ``[1, 4H]``; returns the new (hidden, cell)."""
    recurred = dense(graph, layer.recurrent_projection(), hidden, f"{name}/recurred")
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
        projected = dense(graph, layer.input_projection(), x, f"lstm_{n}/projected")
        x, new_cell = add_lstm_step_16x8(graph, layer, projected, hidden, cell, f"lstm_{n}")
        outputs += [x, new_cell]
    return graph.finish(outputs)


def dense_graph(layer: DenseIntegers, rows: int = 1) -> bytes:
    """A graph of one dense layer: ``[rows, K] -> [rows, M]``."""
    graph = GraphBuilder("dense")
    x = graph.input("x", (rows, layer.weights.shape[1]), layer.input)
    return graph.finish([dense(graph, layer, x, "y")])
