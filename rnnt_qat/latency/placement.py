"""Placement of the operators of a graph compiled by Vela, and the traffic between CPU and NPU."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_BYTES = {
    schema.TensorType.FLOAT32: 4,
    schema.TensorType.INT8: 1,
    schema.TensorType.UINT8: 1,
    schema.TensorType.BOOL: 1,
    schema.TensorType.INT16: 2,
    schema.TensorType.INT32: 4,
    schema.TensorType.INT64: 8,
}
_OPERATORS = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}


@dataclass(frozen=True)
class Placement:
    """Division of a compiled graph between CPU and NPU.

    Attributes:
      npu_calls: number of times that one inference starts the NPU and waits for it.
      cpu_elements: number of elements written by the CPU, by operator type.
      cpu_calls: number of operators run by the CPU, by type.
      npu_to_cpu_elements: number of elements that the NPU writes and the CPU reads, each tensor
        once.
      cpu_to_npu_elements: number of elements that the CPU writes and the NPU reads.
      crossing_bytes: bytes of both.
    """

    npu_calls: int
    cpu_elements: dict[str, int]
    cpu_calls: dict[str, int]
    npu_to_cpu_elements: int
    cpu_to_npu_elements: int
    crossing_bytes: int


def read_placement(compiled: bytes) -> Placement:
    """Reads the placement from Vela's output, where each NPU call is one custom operator."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(compiled, 0))
    graph = model.subgraphs[0]
    npu_calls = 0
    elements: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    written: dict[bool, set[int]] = {True: set(), False: set()}
    read: dict[bool, set[int]] = {True: set(), False: set()}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        on_npu = code.customCode in (b"ethos-u", "ethos-u")
        written[on_npu].update(int(i) for i in operator.outputs)
        read[on_npu].update(int(i) for i in operator.inputs if i >= 0)
        if on_npu:
            npu_calls += 1
            continue
        name = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        calls[name] += 1
        elements[name] += sum(_elements(graph, int(i)) for i in operator.outputs)
    down = written[True] & read[False]
    up = written[False] & read[True]
    return Placement(
        npu_calls=npu_calls,
        cpu_elements=dict(elements),
        cpu_calls=dict(calls),
        npu_to_cpu_elements=sum(_elements(graph, i) for i in down),
        cpu_to_npu_elements=sum(_elements(graph, i) for i in up),
        crossing_bytes=sum(_elements(graph, i) * _BYTES[graph.tensors[i].type] for i in down | up),
    )


def _elements(graph: schema.SubGraphT, index: int) -> int:
    shape = graph.tensors[index].shape
    return int(np.prod(shape)) if shape is not None else 1
