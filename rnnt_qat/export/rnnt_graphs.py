"""The three graphs of a streaming recognizer: encoder chunk, prediction step, joint step.

Tensors are named after their layers. The player records its values under the same names, so that a
difference between the two can be attributed to an operator and frame.

The runtime keeps the states of fused layers (``{layer}/hidden``, ``{layer}/cell``). The states of
other layers are inputs and outputs of a graph, layer by layer, after its own inputs and outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.layer_integers import DenseIntegers, LstmIntegers, RecurrentIntegers
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.layer_graphs import stateful_node
from rnnt_qat.export.lstm_graphs import DenseNode, add_fused_lstm, in_format
from rnnt_qat.export.tflite_graph import GraphBuilder, Tensor

LABEL = TensorFormat(np.int32)


@dataclass(frozen=True)
class Boundary:
    """Operators that a graph includes although not every runtime and chip supports them.

    By default the caller of the graphs computes them.

    Attributes:
      lookup_inside: whether the prediction step gathers the rows of the embedding; otherwise they
        are its input, which costs the caller one read. Ethos-U55 and U65 have no GATHER, TFLM has
        none of int16.
      argmax_inside: whether the joint step returns the label instead of the logits. No runtime has
        an ARG_MAX of int16; Ethos-U55 and U65 have it for up to 127 int8 scores.
    """

    lookup_inside: bool = False
    argmax_inside: bool = False


EVERYWHERE = Boundary()


def encoder_chunk(model: RnntIntegers, frames: int, streams: int = 1) -> bytes:
    """Returns the graph of an encoder chunk: features to encoder projections.

    An incomplete last group is filled with zeros after the layers below the reduction, as in
    training: chunks before the last of an utterance are multiples of the reduction.

    Args:
      model: the recognizer.
      frames: number of feature frames per call.
      streams: number N of streams encoded together; rows of a frame are adjacent.

    Returns:
      The file; it maps ``features [frames N, F]`` to ``encoded [ceil(frames / reduction) N, J]``.

    Raises:
      ValueError: several streams of fused layers, whose states the runtime keeps.
    """
    encoder = model.encoder
    graph = GraphBuilder("encoder")
    features = (frames * streams, encoder.feature_size)
    x = graph.input("features", features, encoder.layers[0].input)
    stack = _Stack(graph, encoder.layers, streams)
    for index in range(len(encoder.layers)):
        if index == encoder.layers_before_reduction:
            x = _reduce(graph, x, encoder.time_reduction, streams)
        x = stack(index, x)
    encoded = DenseNode(graph, encoder.projection, "projection")(x, "encoded")
    return graph.finish([encoded, *stack.outputs])


def prediction_step(
    model: RnntIntegers, boundary: Boundary = EVERYWHERE, streams: int = 1
) -> bytes:
    """Returns the graph of a prediction step.

    Args:
      model: the recognizer.
      boundary: whether the graph looks up the embedding.
      streams: number N of streams computed together; labels of a stream are adjacent.

    Returns:
      The file; it maps the last labels ``[N context]``, or their rows ``[N context, E]``, to
      ``predicted [N, J]``.

    Raises:
      ValueError: several streams of fused layers, whose states the runtime keeps.
    """
    prediction = model.prediction
    graph = GraphBuilder("prediction")
    context, width = prediction.context, prediction.embedding.shape[1]
    if boundary.lookup_inside:
        labels = graph.input("labels", (streams * context,), LABEL)
        table = graph.constant("embedding", prediction.embedding, prediction.embedding_format)
        rows = graph.gather(table, labels, "embedded")
    else:
        shape = (streams * context, width)
        rows = graph.input("embedded", shape, prediction.embedding_format)
    x = rows
    if context > 1:
        x = graph.reshape(rows, (streams, context * width), "embedded_in_a_row")
    stack = _Stack(graph, prediction.layers, streams)
    for index in range(len(prediction.layers)):
        x = stack(index, x)
    predicted = DenseNode(graph, prediction.projection, "projection")(x, "predicted")
    return graph.finish([predicted, *stack.outputs])


def joint_step(model: RnntIntegers, boundary: Boundary = EVERYWHERE, streams: int = 1) -> bytes:
    """Returns the graph of a joint step.

    Args:
      model: the recognizer.
      boundary: whether the graph returns the label or the logits.
      streams: number N of streams computed together.

    Returns:
      The file; it maps ``encoded [N, J]`` and ``predicted [N, J]`` to the label ``[N]`` or the
      logits ``[N, V]``.
    """
    joint = model.joint
    graph = GraphBuilder("joint")
    shape = (streams, joint.width)
    encoded = graph.input("encoded", shape, model.encoder.projection.output)
    predicted = graph.input("predicted", shape, model.prediction.projection.output)
    hidden_pre = graph.add(encoded, predicted, joint.sum, "hidden_pre")
    hidden = graph.tanh(hidden_pre, joint.hidden, "hidden")
    logits = DenseNode(graph, joint.output, "output")(hidden, "logits")
    return graph.finish([graph.argmax(logits, "label") if boundary.argmax_inside else logits])


def recurrent_layer(layer: RecurrentIntegers, frames: int) -> bytes:
    """Returns the graph of one recurrent layer alone, e.g. to compile it alone.

    Args:
      layer: the layer.
      frames: number of frames per call.

    Returns:
      The file; it maps ``inputs [frames, D]`` to ``[frames, H]``.
    """
    graph = GraphBuilder("layer")
    stack = _Stack(graph, (layer,), 1)
    y = stack(0, graph.input("inputs", (frames, layer.input_size), layer.input))
    return graph.finish([y, *stack.outputs])


def product(dense: DenseIntegers, rows: int) -> bytes:
    """Returns the graph of one matrix product alone.

    Args:
      dense: the product.
      rows: number of rows per call.

    Returns:
      The file; it maps ``inputs [rows, K]`` to ``outputs [rows, M]``.
    """
    graph = GraphBuilder("layer")
    x = graph.input("inputs", (rows, dense.weights.shape[1]), dense.input)
    return graph.finish([DenseNode(graph, dense, "product")(x, "outputs")])


class _Stack:
    """Recurrent layers of one graph, with explicit states where their kind has them."""

    def __init__(
        self, graph: GraphBuilder, layers: Sequence[RecurrentIntegers], streams: int
    ) -> None:
        if streams > 1 and not all(layer.carries_state for layer in layers):
            raise ValueError(
                f"{streams} streams in one graph: its fused layers keep the state of one stream"
            )
        self._graph, self._layers = graph, layers
        self._states = {
            n: [
                graph.input(f"{layer.cell_kind}_{n}/{name}_in", (streams, size), tensor_format)
                for name, (size, tensor_format) in layer.state_formats.items()
            ]
            for n, layer in enumerate(layers)
            if layer.carries_state
        }
        self.outputs: list[Tensor] = []

    def __call__(self, index: int, x: Tensor) -> Tensor:
        """Maps ``[T, D]`` to ``[T, H]`` through layer ``index``."""
        graph, layer = self._graph, self._layers[index]
        name = f"{layer.cell_kind}_{index}"
        x = in_format(graph, x, layer.input, f"{name}/input")
        if layer.carries_state:
            ys, *states = stateful_node(graph, layer, name)(x, *self._states[index])
            self.outputs += states
            return ys
        sequence = graph.reshape(x, (1, *x.shape), f"{name}/sequence")
        assert isinstance(layer, LstmIntegers)  # only LSTMs keep their states inside
        ys = add_fused_lstm(graph, layer, sequence, name)
        return graph.reshape(ys, ys.shape[1:], f"{name}/hiddens")


def _reduce(graph: GraphBuilder, x: Tensor, factor: int, streams: int) -> Tensor:
    """Stacks groups of ``factor`` frames; zeros replace the missing frames of the last group.

    Args:
      graph: receives the operators.
      x: rows ``[T N, D]``; rows of a frame are adjacent.
      factor: number of frames per group.
      streams: number N of rows per frame.
    """
    if factor == 1:
        return x
    rows, width = x.shape
    missing = -(rows // streams) % factor
    if missing:
        zero = np.full((missing * streams, width), x.format.zero_point, x.format.dtype)
        x = graph.concatenate([x, graph.constant("no_frames", zero, x.format)], 0, "filled")
    frames = x.shape[0] // streams
    if streams == 1:
        return graph.reshape(x, (frames // factor, factor * width), "reduced")
    parts = [x]
    if frames > 1:
        parts = graph.split(x, frames, 0, [f"{t}/unreduced" for t in range(frames)])
    groups = [
        graph.concatenate(parts[start : start + factor], 1, f"{start}/group")
        for start in range(0, frames, factor)
    ]
    return groups[0] if len(groups) == 1 else graph.concatenate(groups, 0, "reduced")
