"""A layer as a list of integer operators, recorded from the model; covers any recurrent cell.

Operators that depend only on the features of a frame come before those that also depend on the
state of the layer: the former process all frames of a chunk at once, the latter one frame after the
other.
"""

import enum
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact import limits
from rnnt_qat.artefact.arithmetic import Arithmetic
from rnnt_qat.artefact.layer_integers import DenseIntegers
from rnnt_qat.artefact.tensor_format import TensorFormat

INPUT = "x"
"""Name of the layer's input among its tensors."""


class NodeKind(enum.Enum):
    """Operators of the public runtimes that occur in recorded layers."""

    DENSE = "dense"
    """FULLY_CONNECTED."""
    ADD = "add"
    MUL = "mul"
    SIGMOID = "sigmoid"
    """LOGISTIC."""
    TANH = "tanh"
    REQUANTIZE = "requantize"
    """QUANTIZE."""
    SPLIT = "split"
    """Splits the last axis into equal parts."""


_OPERANDS = {NodeKind.ADD: 2, NodeKind.MUL: 2}


@dataclass(frozen=True, eq=False)
class Node:
    """One operator.

    Attributes:
      operator: kind of the operator.
      inputs: names of the tensors that it reads.
      outputs: names of the tensors that it writes; only a split has several.
      format: format of every output.
      dense: kernel, bias and formats of a dense node; None for any other.
    """

    operator: NodeKind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    format: TensorFormat
    dense: DenseIntegers | None = None

    def __post_init__(self) -> None:
        """Rejects operators with a wrong number of tensors."""
        wanted, name = _OPERANDS.get(self.operator, 1), self.operator.value
        if len(self.inputs) != wanted:
            raise ValueError(f"Node.inputs of {name} are {self.inputs}, not {wanted}")
        if not self.outputs or (len(self.outputs) > 1 and self.operator is not NodeKind.SPLIT):
            raise ValueError(f"Node.outputs of {name} are {self.outputs}")
        if (self.dense is not None) != (self.operator is NodeKind.DENSE):
            raise ValueError(f"Node.dense of {name}: a dense node has one, no other has")


@dataclass(frozen=True, eq=False)
class StateTensor:
    """A recurrent state.

    Attributes:
      name: its name among the layer's tensors, before the step.
      next: name of the tensor that holds it after the step.
      size: width.
      format: format of both tensors.
    """

    name: str
    next: str
    size: int
    format: TensorFormat


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant tensor other than kernels and biases.

    Attributes:
      name: its name among the layer's tensors.
      values: its integers; a single one stands for a whole row.
      format: format of the integers.
    """

    name: str
    values: Integer[np.ndarray, "1 W"]
    format: TensorFormat

    def __post_init__(self) -> None:
        """Rejects values that are not a row of the format's integers."""
        if self.values.ndim != 2 or self.values.dtype != self.format.dtype:
            raise ValueError(
                f"Constant {self.name} is {self.values.dtype} {self.values.shape}, not a row of "
                f"{self.format.dtype}"
            )


@dataclass(frozen=True, eq=False)
class RecordedLayer:
    """A recurrent layer, operator by operator.

    Attributes:
      cell_kind: prefix of its module path.
      input: format of the inputs.
      input_size: width of the inputs.
      constants: constant tensors other than kernels and biases.
      states: the recurrent states, in order.
      before: operators that do not depend on a state, in order.
      steps: operators of one frame, in order.
      result: name of the output tensor.
      output: format of the outputs.
      output_size: width of the outputs.
    """

    cell_kind: str
    input: TensorFormat
    input_size: int
    constants: tuple[Constant, ...]
    states: tuple[StateTensor, ...]
    before: tuple[Node, ...]
    steps: tuple[Node, ...]
    result: str
    output: TensorFormat
    output_size: int

    def __post_init__(self) -> None:
        """Rejects operators that read a tensor before it is written."""
        known = {INPUT, *(constant.name for constant in self.constants)}
        for part, nodes in (("before", self.before), ("steps", self.steps)):
            known |= {state.name for state in self.states} if part == "steps" else set()
            for node in nodes:
                missing = [name for name in node.inputs if name not in known]
                if missing:
                    raise ValueError(f"RecordedLayer.{part}: {node.operator.value} reads {missing}")
                known |= set(node.outputs)
        written = (self.result, *(state.next for state in self.states))
        missing = [name for name in written if name not in known]
        if missing:
            raise ValueError(f"RecordedLayer: no operator writes {missing}")

    @functools.cached_property
    def formats(self) -> Mapping[str, TensorFormat]:
        """Format of every tensor by name."""
        written = {
            name: node.format for node in (*self.before, *self.steps) for name in node.outputs
        }
        constants = {constant.name: constant.format for constant in self.constants}
        states = {state.name: state.format for state in self.states}
        return {INPUT: self.input} | constants | states | written

    @property
    def carries_state(self) -> bool:
        """True: its states are inputs and outputs of a graph."""
        return True

    @property
    def state_formats(self) -> Mapping[str, tuple[int, TensorFormat]]:
        """Width and format of each state."""
        return {state.name: (state.size, state.format) for state in self.states}

    def check_limits(self, where: str, wide_bits: int) -> None:
        """Raises ValueError if some input overflows the runtimes' words.

        Args:
          where: name of the layer in the error message.
          wide_bits: width of the accumulator of int16 inputs.
        """
        for node in (*self.before, *self.steps):
            place = f"{where}/{node.outputs[0]}"
            read = [self.formats[name] for name in node.inputs]
            if node.dense is not None:
                node.dense.check_limits(place, wide_bits)
            elif node.operator is NodeKind.ADD:
                limits.check_add(place, (read[0], read[1], node.format))
            elif node.operator is NodeKind.TANH:
                limits.check_tanh(place, read[0])
            elif node.operator is NodeKind.REQUANTIZE:
                limits.check_requantize(place, read[0], node.format)


def play_recorded(
    layer: RecordedLayer,
    xs: Integer[np.ndarray, "T D"],
    state: Mapping[str, Integer[np.ndarray, "H"]],
    arithmetic: Arithmetic,
    record: Callable[[str, np.ndarray], None],
) -> tuple[Integer[np.ndarray, "T H"], dict[str, np.ndarray]]:
    """Computes the layer over T frames.

    Args:
      layer: the layer.
      xs: inputs in the layer's input format.
      state: states before the first frame, by name.
      arithmetic: arithmetic of the runtime.
      record: receives every result; those of a frame are named ``{frame}/{tensor}``.

    Returns:
      Outputs of every frame and the states after the last.
    """
    constants = {constant.name: constant.values for constant in layer.constants}
    tensors = {INPUT: xs}
    for node in layer.before:
        tensors |= _play(layer, node, tensors | constants, arithmetic)
        _record(node, tensors, record, "")
    held = {name: values[None] for name, values in state.items()}
    outputs = np.empty((len(xs), layer.output_size), layer.output.dtype)
    for t in range(len(xs)):
        here = {name: values[t : t + 1] for name, values in tensors.items()}
        here |= constants | held
        for node in layer.steps:
            here |= _play(layer, node, here, arithmetic)
            _record(node, here, record, f"{t}/")
        held = {state.name: here[state.next] for state in layer.states}
        outputs[t] = here[layer.result][0]
    return outputs, {name: values[0] for name, values in held.items()}


def _play(
    layer: RecordedLayer,
    node: Node,
    tensors: Mapping[str, np.ndarray],
    arithmetic: Arithmetic,
) -> dict[str, np.ndarray]:
    """Returns the results of one operator by name."""
    read = [tensors[name] for name in node.inputs]
    formats = [layer.formats[name] for name in node.inputs]
    if node.operator is NodeKind.SPLIT:
        return dict(zip(node.outputs, np.split(read[0], len(node.outputs), axis=-1), strict=True))
    if node.operator is NodeKind.DENSE:
        assert node.dense is not None
        dense = node.dense
        result = arithmetic.dense(read[0], dense.weights, dense.bias, dense.formats)
    elif node.operator is NodeKind.ADD:
        result = arithmetic.add(read[0], read[1], (formats[0], formats[1], node.format))
    elif node.operator is NodeKind.MUL:
        result = arithmetic.mul(read[0], read[1], (formats[0], formats[1], node.format))
    elif node.operator is NodeKind.SIGMOID:
        result = arithmetic.logistic(read[0], formats[0])
    elif node.operator is NodeKind.TANH:
        result = arithmetic.tanh(read[0], formats[0], node.format)
    else:
        result = arithmetic.requantize(read[0], formats[0], node.format)
    return {node.outputs[0]: result}


def _record(
    node: Node,
    tensors: Mapping[str, np.ndarray],
    record: Callable[[str, np.ndarray], None],
    prefix: str,
) -> None:
    if node.operator is not NodeKind.SPLIT:
        record(prefix + node.outputs[0], tensors[node.outputs[0]])
