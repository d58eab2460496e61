"""A recognizer's networks laid out as LiteRT's kernels take them, from the record of its layers.

Which layers there are, in what order, and which parameters they multiply by is read from the
record; where the integers and formats come from is the caller's (``LayerIntegers``).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact.arithmetic import LITERT
from rnnt_qat.artefact.integers import (
    GATE_PRE,
    DenseIntegers,
    EncoderIntegers,
    JointIntegers,
    LstmIntegers,
    PredictionIntegers,
    RecurrentIntegers,
    RnntIntegers,
)
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.record_layer import LayerIntegers, RecordError, record_layer
from rnnt_qat.infra.errors import UserError
from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.models.serving_record import serving_record
from rnnt_qat.quant.recorded import Layer, Path, Record, table_readers
from rnnt_qat.quant.sites import Sites

Source = Callable[[Path, Sites], LayerIntegers]
"""Integers of the layer at a path, which declares some sites."""
Table = Callable[[Path, TensorFormat], Integer[np.ndarray, "V E"]]
"""Integers of the table at a path, in the format of the layer that reads it."""


class FreezeError(UserError, ValueError):
    """A model that cannot be frozen; the message names the layer or the range."""


def lay_out(
    config: RNNTConfig,
    params: Mapping[str, Any],
    source: Source,
    table: Table,
    chip: str,
    fused: bool,
) -> RnntIntegers:
    """The whole recognizer.

    Args:
      config: sizes.
      params: arrays of the shapes of its parameters.
      source: integers of its layers.
      table: integers of its embedding.
      chip: name of the accelerator.
      fused: the chip's recurrent layers are one operator; else they are operators on int16.

    Raises:
      FreezeError: the chip's runtimes have no operators for a layer; names it.
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
        arithmetic=LITERT,
    )


def _network(record: Record, name: str) -> tuple[list[Layer], Layer]:
    """Layers of a network in order, without and with its last, the projection for the joint."""
    *layers, projection = [
        layer for layer in record.layers if layer.path[0] == name and layer.sites
    ]
    return layers, projection


def _first_format(source: Source, layers: list[Layer], projection: Layer) -> TensorFormat:
    """Format in which a network takes its inputs: its first layer's."""
    first = layers[0] if layers else projection
    return source(first.path, first.sites).format("input")


class _Stack:
    """Makes layers of a record one after the other."""

    def __init__(
        self, record: Record, params: Mapping[str, Any], source: Source, fused: bool
    ) -> None:
        self._record, self._params, self._source, self._fused = record, params, source, fused

    def layers(self, layers: list[Layer], format: TensorFormat) -> tuple[RecurrentIntegers, ...]:
        """Recurrent layers; each takes what the one before it stored."""
        found: list[RecurrentIntegers] = []
        for layer in layers:
            found.append(self._recurrent(layer, format))
            format = found[-1].output
        return tuple(found)

    def product(self, layer: Layer, input: TensorFormat, output: TensorFormat) -> DenseIntegers:
        """A layer of one product, from the format that its input really has."""
        calls = [call for call in self._record.calls if call.layer.path == layer.path]
        (kernel,) = {call.parameter for call in calls if call.operator == "weight"}
        (bias,) = {call.parameter for call in calls if call.operator == "accumulate"}
        assert kernel is not None
        return self._source(layer.path, layer.sites).dense(kernel, bias, input, output)

    def _recurrent(self, layer: Layer, input: TensorFormat) -> RecurrentIntegers:
        integers = self._source(layer.path, layer.sites)
        if isinstance(layer.module, LSTM):
            return _lstm(integers, input)
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
            return record_layer(module, kind, params, integers, input, size)
        except RecordError as error:
            raise FreezeError(f"layer {'/'.join(layer.path)}: {error}") from error


def _first_kernel(record: Record, layer: Layer) -> str:
    """Name of the kernel that takes a layer's input: the first that it asks for."""
    names = (
        call.parameter
        for call in record.calls
        if call.layer.path == layer.path and call.operator == "weight"
    )
    name = next(names)
    assert name is not None
    return name


def _lstm(integers: LayerIntegers, input: TensorFormat) -> LstmIntegers:
    """A plain LSTM, gates one by one."""
    hidden = integers.format("hidden")
    read = integers.dense("input_kernel", "bias", input, GATE_PRE)
    recurrent = integers.dense("recurrent_kernel", None, hidden, GATE_PRE)
    assert read.bias is not None
    return LstmIntegers(
        w_ih=_by_gate(read.weights),
        w_hh=_by_gate(recurrent.weights),
        bias=read.bias.reshape(4, -1),
        input=input,
        hidden=hidden,
        cell=integers.format("cell"),
        w_ih_scale=_gate_scale(read),
        w_hh_scale=_gate_scale(recurrent),
    )


def _by_gate(weights: Integer[np.ndarray, "4H K"]) -> Integer[np.ndarray, "4 H K"]:
    return np.ascontiguousarray(weights.reshape(4, -1, weights.shape[1]))


def _gate_scale(dense: DenseIntegers) -> np.ndarray:
    """One scale a gate where its units agree, else one a unit."""
    scale = np.asarray(dense.weight_scale, np.float32)
    if scale.ndim == 0:
        return np.full(4, scale)
    by_gate = scale.reshape(4, -1)
    return by_gate[:, 0] if np.all(by_gate == by_gate[:, :1]) else by_gate
