"""Builder of `.tflite` graphs: integer tensors, constants and the operators of an RNN-T.

The file format is the flatbuffers schema of LiteRT (TensorFlow Lite, schema version 3, file
identifier ``TFL3``). The integer arithmetic of the operators is that of its 8-bit quantization
specification (https://ai.google.dev/edge/litert/models/quantization_spec): ``real = (q -
zero_point) * scale``, weights symmetric in [-127, 127].

The builder chooses no formats: every tensor is declared with its dtype, scale and zero point, so a
graph contains exactly the integers that its caller computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from rnnt_qat.artefact.tensor_format import TensorFormat

_TENSOR_TYPE = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
}
_NONE = schema.ActivationFunctionType.NONE
_CONCATENATED = 10
"""Maximum number of inputs of TFLM's CONCATENATION (kMaxInputNum in micro/kernels)."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph under construction.

    Attributes:
      index: index in the graph.
      name: unique name.
      shape: shape.
      format: format of its values.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    format: TensorFormat


class GraphBuilder:
    """Collects tensors and operators of one subgraph; ``finish`` returns the file.

    Operators take and return ``Tensor`` handles. If the format of the output can be chosen, it is
    the argument ``out``; ``name`` is the name under which runtimes report the result.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._buffers = [schema.BufferT()]  # buffer 0 is the empty one, by convention
        self._tensors: list[schema.TensorT] = []
        self._codes: list[tuple[int, int]] = []
        self._operators: list[schema.OperatorT] = []
        self._inputs: list[Tensor] = []
        self._names: set[str] = set()

    def input(self, name: str, shape: Sequence[int], tensor_format: TensorFormat) -> Tensor:
        """Adds an input of the graph; inputs keep the order of their declaration."""
        tensor = self._tensor(name, shape, tensor_format)
        self._inputs.append(tensor)
        return tensor

    def constant(
        self, name: str, array: np.ndarray, tensor_format: TensorFormat | None = None
    ) -> Tensor:
        """Adds an array stored in the file.

        Args:
          name: name of the tensor.
          array: the values, of the format's dtype.
          tensor_format: their format; None for plain numbers.

        Raises:
          ValueError: the dtypes differ.
        """
        tensor_format = tensor_format or TensorFormat(array.dtype)
        if array.dtype != np.dtype(tensor_format.dtype):
            raise ValueError(
                f"constant {name!r} is {array.dtype}, its format {tensor_format.dtype}"
            )
        little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        data = np.frombuffer(little_endian.tobytes(), np.uint8)
        self._buffers.append(schema.BufferT(data=data))
        return self._tensor(name, array.shape, tensor_format, buffer=len(self._buffers) - 1)

    def variable(self, name: str, shape: Sequence[int], tensor_format: TensorFormat) -> Tensor:
        """Adds a state that the runtime keeps between calls and resets to its zero point."""
        return self._tensor(name, shape, tensor_format, is_variable=True)

    def fully_connected(
        self, x: Tensor, weights: Tensor, bias: Tensor | None, out: TensorFormat, name: str
    ) -> Tensor:
        """Computes ``[N, in] x [out, in] + [out] -> [N, out]``, requantized to ``out``.

        Args:
          x: inputs, int8 or int16.
          weights: int8 weights.
          bias: int32 for int8 inputs, int64 for int16, at scale ``s_x * s_w``; None for no bias.
          out: format of the result.
          name: name of the result.
        """
        shape = (*x.shape[:-1], weights.shape[0])
        if x.shape[-1] != weights.shape[1]:
            raise ValueError(f"{name!r}: inputs {x.shape} do not fit weights {weights.shape}")
        options = schema.FullyConnectedOptionsT(keepNumDims=len(shape) > 2)
        wide = np.dtype(x.format.dtype) == np.int16
        if wide:
            options.quantizedBiasType = schema.TensorType.INT64
        inputs = [x, weights, bias]
        return self._apply("FULLY_CONNECTED", 7 if wide else 4, inputs, shape, out, name, options)

    def add(self, a: Tensor, b: Tensor, out: TensorFormat, name: str) -> Tensor:
        """Computes ``a + b``, each rescaled, and saturates to ``out``; the shapes broadcast."""
        # General rescaling even if every scale is a power of two: it is the only variant that
        # LiteRT, TFLM and Ethos-U share (the power-of-two shortcut exists in LiteRT only).
        options = schema.AddOptionsT(potScaleInt16=False)
        shape = np.broadcast_shapes(a.shape, b.shape)
        return self._apply("ADD", 3, [a, b], shape, out, name, options)

    def mul(self, a: Tensor, b: Tensor, out: TensorFormat, name: str) -> Tensor:
        """Computes ``a * b``, rescales and saturates to ``out``; the shapes broadcast."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        return self._apply("MUL", 2, [a, b], shape, out, name, schema.MulOptionsT())

    def logistic(self, x: Tensor, out: TensorFormat, name: str) -> Tensor:
        """Computes the sigmoid; ``out`` is 2^-15 for int16, 2^-8 with zero point -128 for int8."""
        return self._apply("LOGISTIC", 3, [x], x.shape, out, name)

    def tanh(self, x: Tensor, out: TensorFormat, name: str) -> Tensor:
        """Computes the hyperbolic tangent; ``out`` is 2^-15 for int16, 2^-7 for int8."""
        return self._apply("TANH", 3, [x], x.shape, out, name)

    def quantize(self, x: Tensor, out: TensorFormat, name: str) -> Tensor:
        """Converts to another integer format (requantization)."""
        return self._apply("QUANTIZE", 2, [x], x.shape, out, name, schema.QuantizeOptionsT())

    def split(self, x: Tensor, parts: int, axis: int, names: Sequence[str]) -> list[Tensor]:
        """Splits ``x`` into equal parts along an axis.

        Args:
          x: the tensor.
          parts: number of parts.
          axis: the axis.
          names: names of the parts.
        """
        size, rest = divmod(x.shape[axis], parts)
        if rest or len(names) != parts:
            raise ValueError(f"split of {x.shape} on axis {axis} into {parts} pieces {names}")
        shape = _with_axis(x.shape, axis, size)
        where = self._fresh(f"{x.name}/split_axis")
        axis_tensor = self.constant(where, np.array(axis % len(x.shape), np.int32))
        pieces = [self._tensor(name, shape, x.format) for name in names]
        options = schema.SplitOptionsT(numSplits=parts)
        self._operator("SPLIT", 4, [axis_tensor, x], pieces, options)
        return pieces

    def reshape(self, x: Tensor, shape: Sequence[int], name: str) -> Tensor:
        """Changes the shape."""
        if int(np.prod(shape)) != int(np.prod(x.shape)):
            raise ValueError(f"{name!r}: {x.shape} cannot be reshaped to {tuple(shape)}")
        wanted = np.array(shape, np.int32)
        options = schema.ReshapeOptionsT(newShape=wanted)
        constant = self.constant(self._fresh(f"{name}/shape"), wanted)
        return self._apply("RESHAPE", 1, [x, constant], tuple(shape), x.format, name, options)

    def concatenate(self, parts: Sequence[Tensor], axis: int, name: str) -> Tensor:
        """Concatenates parts of one format along an axis, in groups if they are many.

        Args:
          parts: the parts.
          axis: the axis.
          name: name of the result.
        """
        if any(p.format != parts[0].format for p in parts):
            raise ValueError(f"{name!r}: the pieces' formats differ: {[p.format for p in parts]}")
        if len(parts) > _CONCATENATED:
            size = -(-len(parts) // _CONCATENATED)
            starts = range(0, len(parts), max(size, _CONCATENATED))
            groups = [parts[start : start + starts.step] for start in starts]
            parts = [
                self.concatenate(group, axis, f"{name}/group_{n}") if len(group) > 1 else group[0]
                for n, group in enumerate(groups)
            ]
        axis %= len(parts[0].shape)
        shape = _with_axis(parts[0].shape, axis, sum(p.shape[axis] for p in parts))
        options = schema.ConcatenationOptionsT(axis=axis)
        return self._apply("CONCATENATION", 2, parts, shape, parts[0].format, name, options)

    def argmax(self, x: Tensor, name: str) -> Tensor:
        """Returns the index (int32) of the largest element of the last axis, the first if equal."""
        axis = self.constant(self._fresh(f"{name}/axis"), np.array(len(x.shape) - 1, np.int32))
        options = schema.ArgMaxOptionsT(outputType=schema.TensorType.INT32)
        out = TensorFormat(np.int32)
        return self._apply("ARG_MAX", 2, [x, axis], x.shape[:-1], out, name, options)

    def gather(self, table: Tensor, indices: Tensor, name: str) -> Tensor:
        """Returns rows of ``table`` ``[V, D]`` at int32 ``indices`` ``[N]``: ``[N, D]``."""
        shape = (*indices.shape, *table.shape[1:])
        options = schema.GatherOptionsT(axis=0)
        return self._apply("GATHER", 4, [table, indices], shape, table.format, name, options)

    def unidirectional_sequence_lstm(
        self, inputs: Sequence[Tensor | None], intermediates: Sequence[Tensor], name: str
    ) -> Tensor:
        """Computes the fused LSTM over ``inputs[0]`` ``[batch, time, in]``, in its state's format.

        Args:
          inputs: the operator's 24 inputs in schema order, None for absent optional inputs.
          intermediates: the five tensors whose formats the integer kernels read.
          name: name of the output.
        """
        x, state = inputs[0], inputs[18]
        if len(inputs) != 24 or len(intermediates) != 5 or x is None or state is None:
            raise ValueError(f"{name!r}: needs 24 inputs (0 and 18 present) and 5 intermediates")
        shape = (*x.shape[:2], state.shape[-1])
        options = schema.UnidirectionalSequenceLSTMOptionsT(
            fusedActivationFunction=schema.ActivationFunctionType.TANH, timeMajor=False
        )
        operator = "UNIDIRECTIONAL_SEQUENCE_LSTM"
        out = self._apply(operator, 3, inputs, shape, state.format, name, options)
        self._operators[-1].intermediates = [t.index for t in intermediates]
        return out

    def intermediate(self, name: str, tensor_format: TensorFormat) -> Tensor:
        """Adds a scratch tensor that only carries a format; TFLM requires the shape [0]."""
        return self._tensor(name, (0,), tensor_format)

    def finish(self, outputs: Sequence[Tensor]) -> bytes:
        """Returns the file of a graph with the given outputs."""
        subgraph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=[t.index for t in self._inputs],
            outputs=[t.index for t in outputs],
            operators=self._operators,
            name=self.name.encode(),
        )
        codes = [
            # Codes below 127 are written in both fields, for readers of the old schema.
            schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), version=v, builtinCode=code)
            for code, v in self._codes
        ]
        signature = schema.SignatureDefT(
            inputs=[_named(t) for t in self._inputs],
            outputs=[_named(t) for t in outputs],
            signatureKey=self.name.encode(),
            subgraphIndex=0,
        )
        model = schema.ModelT(
            version=3,
            operatorCodes=codes,
            subgraphs=[subgraph],
            description=b"rnnt_qat",
            buffers=self._buffers,
            signatureDefs=[signature],
        )
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _tensor(
        self,
        name: str,
        shape: Sequence[int],
        tensor_format: TensorFormat,
        buffer: int = 0,
        is_variable: bool = False,
    ) -> Tensor:
        if name in self._names:
            raise ValueError(f"the graph {self.name!r} already has a tensor named {name!r}")
        self._names.add(name)
        quantization = None
        if tensor_format.scale is not None:
            scales = np.atleast_1d(np.asarray(tensor_format.scale, np.float32))
            quantization = schema.QuantizationParametersT(
                scale=scales,
                zeroPoint=np.full(len(scales), tensor_format.zero_point, np.int64),
                quantizedDimension=tensor_format.axis,
            )
        shape = tuple(int(n) for n in shape)
        self._tensors.append(
            schema.TensorT(
                shape=np.array(shape, np.int32),
                type=_TENSOR_TYPE[np.dtype(tensor_format.dtype)],
                buffer=buffer,
                name=name.encode(),
                quantization=quantization,
                isVariable=is_variable,
            )
        )
        return Tensor(len(self._tensors) - 1, name, shape, tensor_format)

    def _apply(
        self,
        operator: str,
        version: int,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        out: TensorFormat,
        name: str,
        options: Any = None,
    ) -> Tensor:
        result = self._tensor(name, shape, out)
        self._operator(operator, version, inputs, [result], options)
        return result

    def _operator(
        self,
        operator: str,
        version: int,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        options: Any,
    ) -> None:
        code = (getattr(schema.BuiltinOperator, operator), version)
        if code not in self._codes:
            self._codes.append(code)
        entry = schema.OperatorT(
            opcodeIndex=self._codes.index(code),
            inputs=[-1 if t is None else t.index for t in inputs],
            outputs=[t.index for t in outputs],
        )
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            entry.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            entry.builtinOptions = options
        self._operators.append(entry)

    def _fresh(self, name: str) -> str:
        candidates = [name, *(f"{name}_{n}" for n in range(1, len(self._names) + 1))]
        return next(n for n in candidates if n not in self._names)


def _with_axis(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    axis %= len(shape)
    return (*shape[:axis], size, *shape[axis + 1 :])


def _named(tensor: Tensor) -> schema.TensorMapT:
    return schema.TensorMapT(name=tensor.name.encode(), tensorIndex=tensor.index)
