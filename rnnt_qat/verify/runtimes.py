"""Two independent integer runtimes behind one interface.

``LiteRt`` runs LiteRT's *reference* kernels, whose arithmetic the Ethos-U targets follow. (The
default, optimized kernels differ from them by up to 32 LSB in an int16 LSTM step.) ``Tflm`` runs
TensorFlow Lite for Microcontrollers, the runtime of the chips' own firmware. States inside a graph
(``GraphBuilder.variable``) persist from call to call until ``reset``.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime as tflm

_ARENA_BYTES = 16 << 20  # Activations only: weights stay in the file.


class Runtime(Protocol):
    """One loaded graph."""

    def reset(self) -> None:
        """Resets the states inside the graph to their zero points."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Runs the graph once: its inputs in order, to its outputs in order; all are integers."""


class LiteRt:
    """A graph in LiteRT with its reference kernels.

    Args:
      model: a `.tflite` file's bytes.
      keep_tensors: whether ``tensor`` can return every intermediate result (needs more memory).

    Raises:
      ValueError: LiteRT rejects the graph; includes LiteRT's message.
    """

    def __init__(self, model: bytes, keep_tensors: bool = False) -> None:
        self._interpreter = Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=keep_tensors,
        )
        try:
            self._interpreter.allocate_tensors()
        except RuntimeError as error:
            raise ValueError(f"LiteRT refuses the graph: {error}") from error
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        details = self._interpreter.get_tensor_details()
        self._indices = {d["name"]: d["index"] for d in details if d["name"]}

    def reset(self) -> None:
        """Resets the states inside the graph to their zero points."""
        self._interpreter.reset_all_variables()

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Runs the graph once; raises ValueError for an input of another shape or dtype."""
        for detail, array in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], array)
        self._interpreter.invoke()
        return tuple(self._interpreter.get_tensor(d["index"]) for d in self._outputs)

    def tensor(self, name: str) -> np.ndarray:
        """Returns a state of the last call by name, or with ``keep_tensors`` any result."""
        return self._interpreter.get_tensor(self._index(name))

    def set_state(self, name: str, values: np.ndarray) -> None:
        """Sets a state inside the graph."""
        self._interpreter.set_tensor(self._index(name), values)

    def tensor_names(self) -> tuple[str, ...]:
        """Returns the names of all tensors, in the order of their declaration."""
        return tuple(self._indices)

    def _index(self, name: str) -> int:
        if name not in self._indices:
            raise KeyError(f"the graph has no tensor {name!r}; it has {', '.join(self._indices)}")
        return self._indices[name]


class Tflm:
    """A graph in TensorFlow Lite for Microcontrollers.

    Args:
      model: a `.tflite` file's bytes.

    Raises:
      ValueError: TFLM lacks an operator of the graph or rejects its formats; it prints which.
    """

    def __init__(self, model: bytes) -> None:
        try:
            self._interpreter = tflm.Interpreter.from_bytes(model, arena_size=_ARENA_BYTES)
        except RuntimeError as error:
            raise ValueError(f"TFLM refuses the graph: {error}") from error
        self._output_count = _output_count(model)

    def reset(self) -> None:
        """Resets the states inside the graph to their zero points."""
        self._interpreter.reset()

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Runs the graph once; raises ValueError for an input of another shape or dtype."""
        for index, array in enumerate(inputs):
            self._interpreter.set_input(array, index)
        self._interpreter.invoke()
        return tuple(self._interpreter.get_output(i) for i in range(self._output_count))


RUNTIMES: dict[str, Callable[[bytes], Runtime]] = {"LiteRT": LiteRt, "TFLM": Tflm}
"""Runtimes of exported graphs by name."""


def check_loads(graphs: Mapping[str, bytes]) -> None:
    """Checks that every graph loads in every runtime.

    Args:
      graphs: `.tflite` files' bytes by name.

    Raises:
      ValueError: a runtime rejects a graph; names both.
    """
    for name, graph in graphs.items():
        for load in RUNTIMES.values():
            try:
                load(graph)
            except ValueError as error:
                raise ValueError(f"the graph {name!r}: {error}") from error


def _output_count(model: bytes) -> int:
    return schema.Model.GetRootAs(model, 0).Subgraphs(0).OutputsLength()
