"""LSTM and dense layers as `.tflite` graphs, in both public integer variants.

``fused_lstm`` is LiteRT's UNIDIRECTIONAL_SEQUENCE_LSTM with int8 inputs, hidden state and weights
and an int16 cell ("8x8_16"). ``lstm_step_16x8`` is one step written operator by operator with int16
activations and int8 weights ("16x8"). Both take ``LstmIntegers``; gates are in the order i, f, g, o
(input, forget, cell candidate, output), as in LiteRT.
"""

from collections.abc import Sequence

import numpy as np

from rnnt_qat.artefact.layer_integers import GATE, GATE_NAMES, GATE_PRE, DenseIntegers, LstmIntegers
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.tflite_graph import GraphBuilder, Tensor


class DenseNode:
    """Constants of a dense layer in a graph; each call adds one FULLY_CONNECTED."""

    def __init__(self, graph: GraphBuilder, layer: DenseIntegers, name: str) -> None:
        self._graph, self._layer = graph, layer
        _, weight_format, _ = layer.formats
        self._weights = graph.constant(f"{name}/weights", layer.weights, weight_format)
        self._bias = None
        if layer.bias is not None:
            product = np.float32(layer.input.scale) * np.asarray(weight_format.scale, np.float32)
            tensor_format = TensorFormat(layer.bias.dtype, product)
            self._bias = graph.constant(f"{name}/bias", layer.bias, tensor_format)

    def __call__(self, x: Tensor, name: str) -> Tensor:
        """Maps ``[N, K]`` to ``[N, M]``; an input in another format is requantized first."""
        x = in_format(self._graph, x, self._layer.input, f"{name}/input")
        weights, bias = self._weights, self._bias
        return self._graph.fully_connected(x, weights, bias, self._layer.output, name)


def in_format(graph: GraphBuilder, x: Tensor, tensor_format: TensorFormat, name: str) -> Tensor:
    """Returns ``x``, requantized if it has another format.

    Args:
      graph: receives the operator.
      x: the tensor.
      tensor_format: format of the result.
      name: name of the requantized tensor.
    """
    return x if x.format == tensor_format else graph.quantize(x, tensor_format, name)


def add_fused_lstm(graph: GraphBuilder, layer: LstmIntegers, x: Tensor, name: str) -> Tensor:
    """Adds a fused int8 LSTM.

    The runtime keeps its states ``{name}/hidden`` (int8) and ``{name}/cell`` (int16).

    Args:
      graph: receives the operator.
      layer: the layer.
      x: inputs ``[1, T, D]``.
      name: name of the output and prefix of the other tensors.

    Returns:
      The hidden states ``[1, T, H]``.
    """
    constants: list[Tensor] = []
    for site, arrays, scales in (
        ("w_ih", layer.w_ih, layer.w_ih_scale),
        ("w_hh", layer.w_hh, layer.w_hh_scale),
    ):
        for gate, array, scale in zip(GATE_NAMES, arrays, scales, strict=True):
            tensor_format = TensorFormat(np.int8, scale)
            constants.append(graph.constant(f"{name}/{site}_{gate}", array, tensor_format))
    biases = []
    for gate, array, scale in zip(GATE_NAMES, layer.bias, layer.w_ih_scale, strict=True):
        tensor_format = TensorFormat(np.int32, layer.input.scale * scale)
        biases.append(graph.constant(f"{name}/bias_{gate}", array, tensor_format))
    batch = x.shape[0]
    hidden = graph.variable(f"{name}/hidden", (batch, layer.hidden_size), layer.hidden)
    cell = graph.variable(f"{name}/cell", (batch, layer.hidden_size), layer.cell)
    # Without layer normalization, the kernels read only one of the five: the format of o * tanh(c).
    intermediates = [graph.intermediate(f"{name}/{gate}_pre", GATE_PRE) for gate in GATE_NAMES]
    intermediates.append(graph.intermediate(f"{name}/output", layer.hidden))
    no_peephole, no_projection, no_norm = [None] * 3, [None] * 2, [None] * 4
    inputs = [x, *constants, *no_peephole, *biases, *no_projection, hidden, cell, *no_norm]
    return graph.unidirectional_sequence_lstm(inputs, intermediates, name)


class LstmNode16x8:
    """Constants of a 16x8 LSTM in a graph; a call adds its operators, frame by frame."""

    def __init__(self, graph: GraphBuilder, layer: LstmIntegers, name: str) -> None:
        self._graph, self._layer, self._name = graph, layer, name
        self._input = DenseNode(graph, layer.input_projection(), f"{name}/input_kernel")
        self._recurrent = DenseNode(graph, layer.recurrent_projection(), f"{name}/recurrent_kernel")

    def __call__(self, xs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Adds the operators of all frames.

        The input projections of all frames are one product, so that its weights are read once.

        Args:
          xs: inputs ``[T N, D]`` of N streams; rows of a frame are adjacent.
          hidden: hidden states ``[N, H]`` before the first frame.
          cell: cell states ``[N, H]`` before the first frame.

        Returns:
          Hidden states ``[T N, H]``, and the hidden and cell states after the last frame.
        """
        graph, name = self._graph, self._name
        frames = xs.shape[0] // hidden.shape[0]
        projected = self._input(xs, f"{name}/projected")
        rows = [projected]
        if frames > 1:
            names = [f"{name}/{t}/projected" for t in range(frames)]
            rows = graph.split(projected, frames, 0, names)
        hiddens = []
        for t, row in enumerate(rows):
            hidden, cell = self._step(row, hidden, cell, f"{name}/{t}")
            hiddens.append(hidden)
        ys = graph.concatenate(hiddens, 0, f"{name}/hiddens") if frames > 1 else hiddens[0]
        return ys, hidden, cell

    def step(self, x: Tensor, hidden: Tensor, cell: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Adds the operators of one frame of N streams.

        Args:
          x: inputs ``[N, D]``.
          hidden: hidden states ``[N, H]``.
          cell: cell states ``[N, H]``.
          name: prefix of the names of the tensors.

        Returns:
          The new hidden and cell states.
        """
        return self._step(self._input(x, f"{name}/projected"), hidden, cell, name)

    def _step(self, row: Tensor, hidden: Tensor, cell: Tensor, name: str) -> tuple[Tensor, Tensor]:
        graph, layer = self._graph, self._layer
        recurred = self._recurrent(hidden, f"{name}/recurred")
        pre = graph.add(row, recurred, GATE_PRE, f"{name}/pre")
        pieces = graph.split(pre, 4, 1, [f"{name}/pre_{gate}" for gate in GATE_NAMES])
        i = graph.logistic(pieces[0], GATE, f"{name}/i")
        f = graph.logistic(pieces[1], GATE, f"{name}/f")
        g = graph.tanh(pieces[2], GATE, f"{name}/g")
        o = graph.logistic(pieces[3], GATE, f"{name}/o")
        kept = graph.mul(f, cell, layer.cell, f"{name}/kept")
        written = graph.mul(i, g, layer.cell, f"{name}/written")
        new_cell = graph.add(kept, written, layer.cell, f"{name}/cell")
        squashed = graph.tanh(new_cell, GATE, f"{name}/tanh_cell")
        return graph.mul(o, squashed, layer.hidden, f"{name}/hidden"), new_cell


def fused_lstm(layer: LstmIntegers, steps: int = 1) -> bytes:
    """Returns a graph of one fused LSTM with internal state.

    Args:
      layer: the layer.
      steps: number of frames per call.

    Returns:
      The file; it maps int8 ``[1, steps, D]`` to int8 ``[1, steps, H]``.
    """
    graph = GraphBuilder("fused_lstm")
    x = graph.input("x", (1, steps, layer.input_size), layer.input)
    return graph.finish([add_fused_lstm(graph, layer, x, "lstm")])


def lstm_step_16x8(layers: LstmIntegers | Sequence[LstmIntegers], streams: int = 1) -> bytes:
    """Returns a graph of one step of one or more stacked 16x8 LSTMs, with explicit states.

    Inputs: x int16 ``[N, D]``, then hidden ``[N, H]`` and cell ``[N, H]`` of each layer. Outputs:
    the new hidden and cell of each layer; the last hidden is the output of the stack.

    Args:
      layers: one layer, or several, each of which reads the hidden state of the previous one.
      streams: number N of streams processed together.
    """
    stack = [layers] if isinstance(layers, LstmIntegers) else list(layers)
    graph = GraphBuilder("lstm_step_16x8")
    x = graph.input("x", (streams, stack[0].input_size), stack[0].input)
    states = [
        (
            graph.input(f"hidden_{n}", (streams, layer.hidden_size), layer.hidden),
            graph.input(f"cell_{n}", (streams, layer.hidden_size), layer.cell),
        )
        for n, layer in enumerate(stack)
    ]
    outputs: list[Tensor] = []
    for n, (layer, (hidden, cell)) in enumerate(zip(stack, states, strict=True)):
        node = LstmNode16x8(graph, layer, f"lstm_{n}")
        x, new_cell = node.step(x, hidden, cell, f"lstm_{n}/0")
        outputs += [x, new_cell]
    return graph.finish(outputs)


def dense_graph(layer: DenseIntegers, rows: int = 1) -> bytes:
    """Returns a graph of one dense layer: ``[rows, K] -> [rows, M]``."""
    graph = GraphBuilder("dense")
    x = graph.input("x", (rows, layer.weights.shape[1]), layer.input)
    return graph.finish([DenseNode(graph, layer, "y")(x, "y")])
