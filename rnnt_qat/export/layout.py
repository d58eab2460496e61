"""Lays out a recognizer's networks as LiteRT's graphs hold them, from the record of its layers.

The record gives the layers, their order, and the parameters of their matrix products. The caller
supplies the integers and formats (``LayerIntegers``).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact.arithmetic import Arithmetic
from rnnt_qat.artefact.integers import (
    EncoderIntegers,
    JointIntegers,
    PredictionIntegers,
    RnntIntegers,
)
from rnnt_qat.artefact.layer_integers import (
    GATE_PRE,
    DenseIntegers,
    LstmIntegers,
    RecurrentIntegers,
)
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.record_layer import LayerIntegers, record_layer
from rnnt_qat.export.symbolic_operators import RecordError
from rnnt_qat.infra.errors import UserError
from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.models.serving_record import serving_record
from rnnt_qat.quant.recorded import Layer, Path, Record, table_readers
from rnnt_qat.quant.sites import Sites

Source = Callable[[Path, Sites], LayerIntegers]
"""Returns the integers of the layer at a path, which declares the given sites."""
Table = Callable[[Path, TensorFormat], Integer[np.ndarray, "V E"]]
"""Returns the integers of the table at a path, in the format of the layer that reads it."""


class FreezeError(UserError, ValueError):
    """A model cannot be frozen; the message names the layer or the range."""


def lay_out(
    config: RNNTConfig,
    params: Mapping[str, Any],
    source: Source,
    table: Table,
    chip: str,
    fused: bool,
    arithmetic: Arithmetic,
) -> RnntIntegers:
    """Lays out a complete recognizer.

    Args:
      config: sizes of the model.
      params: its parameters; only their shapes are used.
      source: supplies the integers of its layers.
      table: supplies the integers of its embedding.
      chip: name of the accelerator.
      fused: whether a recurrent layer is a single operator of the chip; otherwise it consists of
        operators on int16.
      arithmetic: arithmetic of the accelerator.

    Raises:
      FreezeError: the chip's runtimes lack an operator of a layer; names it.
    """
    record = serving_record(config)
    stack = _Stack(record, params, source, fused)

    encoder, projection = _network(record, "encoder")
    layers = stack.layers(encoder, _first_format(source, encoder, projection))
    joint_layer = next(layer for layer in record.layers if layer.path == ("joint",))
    joint = source(joint_layer.path, joint_layer.sites)
    last = layers[-1].output
    encoder_integers = EncoderIntegers(
        layers=layers,
        layers_before_reduction=config.encoder.layers_before_reduction,
        time_reduction=config.encoder.time_reduction,
        projection=stack.product(projection, last, joint.format("encoded")),
    )

    prediction, projection = _network(record, "prediction")
    rows = _first_format(source, prediction, projection)
    layers = stack.layers(prediction, rows)
    last = layers[-1].output if layers else rows
    ((table_path, _),) = table_readers(record).items()
    prediction_integers = PredictionIntegers(
        embedding=table(table_path, rows),
        embedding_format=rows,
        context=getattr(config.prediction, "context", 1),
        layers=layers,
        projection=stack.product(projection, last, joint.format("predicted")),
    )
    hidden = joint.format("hidden")
    return RnntIntegers(
        chip=chip,
        encoder=encoder_integers,
        prediction=prediction_integers,
        joint=JointIntegers(
            sum=joint.format("hidden_pre"),
            hidden=hidden,
            output=stack.product(joint_layer, hidden, joint.format("logits")),
        ),
        arithmetic=arithmetic,
    )


def _network(record: Record, name: str) -> tuple[list[Layer], Layer]:
    """Returns the layers of a network in order, separated from the last, the joint's projection."""
    *layers, projection = [
        layer for layer in record.layers if layer.path[0] == name and layer.sites
    ]
    return layers, projection


def _first_format(source: Source, layers: list[Layer], projection: Layer) -> TensorFormat:
    """Returns the input format of a network, which is that of its first layer."""
    first = layers[0] if layers else projection
    return source(first.path, first.sites).format("input")


class _Stack:
    """Lays out the layers of a record one after the other."""

    def __init__(
        self, record: Record, params: Mapping[str, Any], source: Source, fused: bool
    ) -> None:
        self._record, self._params, self._source, self._fused = record, params, source, fused

    def layers(
        self, layers: list[Layer], tensor_format: TensorFormat
    ) -> tuple[RecurrentIntegers, ...]:
        """Lays out recurrent layers; each reads the format that the previous one stores."""
        found: list[RecurrentIntegers] = []
        for layer in layers:
            found.append(self._recurrent(layer, tensor_format))
            tensor_format = found[-1].output
        return tuple(found)

    def product(
        self, layer: Layer, input_format: TensorFormat, output_format: TensorFormat
    ) -> DenseIntegers:
        """Lays out a layer that is one matrix product.

        Args:
          layer: the layer.
          input_format: actual format of its input.
          output_format: format of the result.
        """
        calls = [call for call in self._record.calls if call.layer.path == layer.path]
        (kernel,) = {call.parameter for call in calls if call.operator == "weight"}
        (bias,) = {call.parameter for call in calls if call.operator == "accumulate"}
        assert kernel is not None
        return self._source(layer.path, layer.sites).dense(
            kernel, bias, input_format, output_format
        )

    def _recurrent(self, layer: Layer, input_format: TensorFormat) -> RecurrentIntegers:
        integers = self._source(layer.path, layer.sites)
        if isinstance(layer.module, LSTM):
            return _lstm(integers, input_format)
        if self._fused:
            raise FreezeError(
                f"layer {'/'.join(layer.path)}: the chip's recurrent layers are LiteRT's fused "
                f"LSTM, and {type(layer.module).__name__} is none: export it to a chip that "
                "computes operator by operator (ethos_u_16x8)"
            )
        params = self._params
        for name in layer.path:
            params = params[name]
        size = params[_first_kernel(self._record, layer)].shape[0]
        kind = layer.path[-1].rpartition("_")[0]
        module = layer.module.clone(parent=None, name=None)
        try:
            return record_layer(module, kind, params, integers, input_format, size)
        except RecordError as error:
            raise FreezeError(f"layer {'/'.join(layer.path)}: {error}") from error


def _first_kernel(record: Record, layer: Layer) -> str:
    """Returns the name of the kernel of a layer's input: the first kernel that it uses."""
    names = (
        call.parameter
        for call in record.calls
        if call.layer.path == layer.path and call.operator == "weight"
    )
    name = next(names)
    assert name is not None
    return name


def _lstm(integers: LayerIntegers, input_format: TensorFormat) -> LstmIntegers:
    """Lays out a plain LSTM, gate by gate."""
    hidden = integers.format("hidden")
    read = integers.dense("input_kernel", "bias", input_format, GATE_PRE)
    recurrent = integers.dense("recurrent_kernel", None, hidden, GATE_PRE)
    assert read.bias is not None
    return LstmIntegers(
        w_ih=_by_gate(read.weights),
        w_hh=_by_gate(recurrent.weights),
        bias=read.bias.reshape(4, -1),
        input=input_format,
        hidden=hidden,
        cell=integers.format("cell"),
        w_ih_scale=_gate_scale(read),
        w_hh_scale=_gate_scale(recurrent),
    )


def _by_gate(weights: Integer[np.ndarray, "4H K"]) -> Integer[np.ndarray, "4 H K"]:
    return np.ascontiguousarray(weights.reshape(4, -1, weights.shape[1]))


def _gate_scale(dense: DenseIntegers) -> np.ndarray:
    """Returns one scale per gate if the scales of its units are equal, else one per unit."""
    scale = np.asarray(dense.weight_scale, np.float32)
    if scale.ndim == 0:
        return np.full(4, scale)
    by_gate = scale.reshape(4, -1)
    return by_gate[:, 0] if np.all(by_gate == by_gate[:, :1]) else by_gate
