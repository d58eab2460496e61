"""Recurrent layers with explicit states, as parts of `.tflite` graphs.

A recorded layer of any kind is written operator by operator.
"""

from collections.abc import Callable, Mapping

from rnnt_qat.artefact.layer_integers import LstmIntegers, RecurrentIntegers
from rnnt_qat.artefact.recorded_layer import INPUT, Node, NodeKind, RecordedLayer
from rnnt_qat.export.lstm_graphs import DenseNode, LstmNode16x8
from rnnt_qat.export.tflite_graph import GraphBuilder, Tensor


def stateful_node(
    graph: GraphBuilder, layer: RecurrentIntegers, name: str
) -> Callable[..., tuple[Tensor, ...]]:
    """Returns a layer as a function from rows ``[T N, D]`` and states to rows and states.

    Args:
      graph: receives the constants of the layer.
      layer: the layer.
      name: prefix of the names of its tensors.
    """
    if isinstance(layer, RecordedLayer):
        return RecordedNode(graph, layer, name)
    assert isinstance(layer, LstmIntegers)
    return LstmNode16x8(graph, layer, name)


class RecordedNode:
    """Constants of a recorded layer in a graph; a call adds its operators, frame by frame."""

    def __init__(self, graph: GraphBuilder, layer: RecordedLayer, name: str) -> None:
        self._graph, self._layer, self._name = graph, layer, name
        self._dense = {
            node.outputs: DenseNode(graph, node.dense, f"{name}/{node.outputs[0]}")
            for node in (*layer.before, *layer.steps)
            if node.dense is not None
        }

        self._constants = {
            each.name: graph.constant(f"{name}/{each.name}", each.values, each.format)
            for each in layer.constants
        }

    def __call__(self, xs: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Adds the operators of all frames.

        Operators that depend only on the inputs run once for all frames, so that their weights are
        read once.

        Args:
          xs: inputs ``[T N, D]`` of N streams; rows of a frame are adjacent.
          *states: states before the first frame, ``[N, ...]`` each.

        Returns:
          Outputs ``[T N, H]`` and the states after the last frame.
        """
        graph, layer, name = self._graph, self._layer, self._name
        frames = xs.shape[0] // states[0].shape[0]
        tensors = {INPUT: xs}
        for node in layer.before:
            tensors |= self._add(node, tensors | self._constants, f"{name}/")
        read = {each for node in layer.steps for each in node.inputs} | {layer.result}
        rows = {
            each: self._rows(each, tensor, frames)
            for each, tensor in tensors.items()
            if each in read
        }
        held = {state.name: tensor for state, tensor in zip(layer.states, states, strict=True)}
        outputs = []
        for t in range(frames):
            here = {each: row[t] for each, row in rows.items()}
            here |= self._constants | held
            for node in layer.steps:
                here |= self._add(node, here, f"{name}/{t}/")
            held = {state.name: here[state.next] for state in layer.states}
            outputs.append(here[layer.result])
        ys = graph.concatenate(outputs, 0, f"{name}/hiddens") if frames > 1 else outputs[0]
        return ys, *held.values()

    def _rows(self, tensor_name: str, tensor: Tensor, frames: int) -> list[Tensor]:
        if frames == 1:
            return [tensor]
        names = [f"{self._name}/{t}/{tensor_name}" for t in range(frames)]
        return self._graph.split(tensor, frames, 0, names)

    def _add(self, node: Node, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """Returns the results of one operator by name."""
        graph, name = self._graph, prefix + node.outputs[0]
        read = [tensors[each] for each in node.inputs]
        if node.operator is NodeKind.SPLIT:
            names = [prefix + output for output in node.outputs]
            return dict(zip(node.outputs, graph.split(read[0], len(names), 1, names), strict=True))
        if node.operator is NodeKind.DENSE:
            return {node.outputs[0]: self._dense[node.outputs](read[0], name)}
        lowerings: dict[NodeKind, Callable[..., Tensor]] = {
            NodeKind.ADD: graph.add,
            NodeKind.MUL: graph.mul,
            NodeKind.SIGMOID: graph.logistic,
            NodeKind.TANH: graph.tanh,
            NodeKind.REQUANTIZE: graph.quantize,
        }
        return {node.outputs[0]: lowerings[node.operator](*read, node.format, name)}
