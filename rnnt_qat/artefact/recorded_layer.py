"""A layer as a list of integer operators, recorded from the model: what it takes to play any cell.

Operators that depend on the features of a frame alone come before those that also depend on the
layer's state: the former take all frames of a chunk at once, the latter one frame after the other.
"""

import enum
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact import arithmetic as fixed
from rnnt_qat.artefact import limits
from rnnt_qat.artefact.arithmetic import RuntimeArithmetic
from rnnt_qat.artefact.integers import DenseIntegers
from rnnt_qat.artefact.tensor_format import TensorFormat

INPUT = "x"
"""Name of the layer's input among its tensors."""


class NodeKind(enum.Enum):
    """Operators of the public runtimes that layers are recorded in."""

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
    """Equal parts of the last axis."""


_OPERANDS = {NodeKind.ADD: 2, NodeKind.MUL: 2}


@dataclass(frozen=True, eq=False)
class Node:
    """One operator.

    Attributes:
      operator: which.
      inputs: names of the tensors that it reads.
      outputs: names of those that it writes; several for a split alone.
      format: of every output.
      dense: kernel, bias and formats of a dense node; None for any other.
    """

    operator: NodeKind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    format: TensorFormat
    dense: DenseIntegers | None = None

    def __post_init__(self) -> None:
        """Refuses operators with too few or too many tensors."""
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
      next: name of the tensor that it becomes.
      size: width.
      format: of both.
    """

    name: str
    next: str
    size: int
    format: TensorFormat


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that is no kernel or bias.

    Attributes:
      name: its name among the layer's tensors.
      values: its integers; one of them stands for a whole row.
      format: of them.
    """

    name: str
    values: Integer[np.ndarray, "1 W"]
    format: TensorFormat

    def __post_init__(self) -> None:
        """Refuses what is no row of the format's integers."""
        if self.values.ndim != 2 or self.values.dtype != self.format.dtype:
            raise ValueError(
                f"Constant {self.name} is {self.values.dtype} {self.values.shape}, not a row of "
                f"{self.format.dtype}"
            )


@dataclass(frozen=True, eq=False)
class RecordedLayer:
    """A recurrent layer, operator by operator.

    Attributes:
      cell_kind: what its module path starts with.
      input: format of the inputs.
      input_size: their width.
      constants: tensors that operators read beside kernels.
      states: the recurrent states, in order.
      before: operators that read no state, in order.
      steps: operators of one frame, in order.
      result: name of the output tensor.
      output: its format.
      output_size: its width.
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
        """Refuses operators that read what is not there yet."""
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
        """Its states go in and out of a graph."""
        return True

    @property
    def state_formats(self) -> Mapping[str, tuple[int, TensorFormat]]:
        """Width and format of each state."""
        return {state.name: (state.size, state.format) for state in self.states}

    def check_limits(self, where: str) -> None:
        """Refuses a layer that some input overflows in the runtimes' words; ``where`` names it."""
        for node in (*self.before, *self.steps):
            place = f"{where}/{node.outputs[0]}"
            read = [self.formats[name] for name in node.inputs]
            if node.dense is not None:
                node.dense.check_limits(place)
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
    arithmetic: RuntimeArithmetic,
    record: Callable[[str, np.ndarray], None],
) -> tuple[Integer[np.ndarray, "T H"], dict[str, np.ndarray]]:
    """The layer over T frames in its input's format.

    Args:
      layer: the layer.
      xs: inputs.
      state: before the first frame, by name.
      arithmetic: of the runtime.
      record: is told every result, those of a frame as ``{frame}/{tensor}``.

    Returns:
      Outputs of every frame and the state after the last.
    """
    constants = {constant.name: constant.values for constant in layer.constants}
    tensors = {INPUT: xs}
    for node in layer.before:
        tensors |= _play(layer, node, tensors | constants, arithmetic)
        _tell(node, tensors, record, "")
    held = {name: values[None] for name, values in state.items()}
    outputs = np.empty((len(xs), layer.output_size), layer.output.dtype)
    for t in range(len(xs)):
        here = {name: values[t : t + 1] for name, values in tensors.items()}
        here |= constants | held
        for node in layer.steps:
            here |= _play(layer, node, here, arithmetic)
            _tell(node, here, record, f"{t}/")
        held = {state.name: here[state.next] for state in layer.states}
        outputs[t] = here[layer.result][0]
    return outputs, {name: values[0] for name, values in held.items()}


def _play(
    layer: RecordedLayer,
    node: Node,
    tensors: Mapping[str, np.ndarray],
    arithmetic: RuntimeArithmetic,
) -> dict[str, np.ndarray]:
    """Results of one operator by name."""
    read = [tensors[name] for name in node.inputs]
    formats = [layer.formats[name] for name in node.inputs]
    if node.operator is NodeKind.SPLIT:
        return dict(zip(node.outputs, np.split(read[0], len(node.outputs), axis=-1), strict=True))
    if node.operator is NodeKind.DENSE:
        assert node.dense is not None
        dense = node.dense
        result = fixed.dense(
            read[0], dense.weights, dense.bias, dense.formats, arithmetic.requantization
        )
    elif node.operator is NodeKind.ADD:
        result = fixed.add(read[0], read[1], (formats[0], formats[1], node.format))
    elif node.operator is NodeKind.MUL:
        result = fixed.mul(read[0], read[1], (formats[0], formats[1], node.format), arithmetic)
    elif node.operator is NodeKind.SIGMOID:
        result = fixed.logistic(read[0])
    elif node.operator is NodeKind.TANH:
        result = fixed.tanh(read[0], formats[0], node.format)
    else:
        result = fixed.requantize(read[0], formats[0], node.format)
    return {node.outputs[0]: result}


def _tell(
    node: Node,
    tensors: Mapping[str, np.ndarray],
    record: Callable[[str, np.ndarray], None],
    prefix: str,
) -> None:
    if node.operator is not NodeKind.SPLIT:
        record(prefix + node.outputs[0], tensors[node.outputs[0]])
