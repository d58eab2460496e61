"""A trained model becomes integers: what the accelerator's memory will hold, and nothing else.

Every number comes from the operator sets that the model was trained through: kernels as
``weight`` stores them, biases as the accumulator of a silent input holds them, formats as ``load``
attaches them. Nothing is quantized a second time here.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.spec import AcceleratorSpec
from rnnt_qat.export.arithmetic import LITERT
from rnnt_qat.export.integers import (
    DenseIntegers,
    EncoderIntegers,
    JointIntegers,
    LstmIntegers,
    PredictionIntegers,
    RnntIntegers,
)
from rnnt_qat.export.tensor_format import TensorFormat
from rnnt_qat.layers.dense import DENSE_SITES
from rnnt_qat.layers.lstm import LSTM_SITES
from rnnt_qat.models.joint import JOINT_SITES
from rnnt_qat.models.prediction import StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.nna_operators import NnaOperators
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.qtensor import LOW_BITS, QTensor
from rnnt_qat.quant.quantized_module import RANGES, check_calibrated
from rnnt_qat.quant.sites import Sites
from rnnt_qat.typing import PyTree

EXPORTABLE = (ETHOS_U_8X8_16, ETHOS_U_16X8)
"""Chips whose arithmetic LiteRT's reference kernels have."""


class FreezeError(ValueError):
    """A model that cannot be frozen; the message names the layer or the range."""


def freeze(model: RNNT, variables: PyTree) -> RnntIntegers:
    """Integers of a calibrated or accelerator-aware trained model.

    Args:
      model: under a policy that puts every layer on one exportable chip (any weight width).
      variables: its parameters and calibrated ranges.

    Raises:
      FreezeError: a layer is not on such a chip, or a range was never calibrated.
    """
    try:
        check_calibrated(variables[RANGES])
    except (KeyError, ValueError) as error:
        raise FreezeError(f"the model has ranges that were never calibrated: {error}") from error
    reader = _Reader(model, variables)
    joint = reader.layer(("joint",), JOINT_SITES)
    return RnntIntegers(
        chip=reader.chip.name,
        encoder=_encoder(reader, joint),
        prediction=_prediction(reader, joint),
        joint=JointIntegers(
            sum=joint.format("hidden_pre"),
            hidden=joint.format("hidden"),
            output=joint.dense(joint.format("hidden"), joint.format("logits")),
        ),
        arithmetic=LITERT,
    )


def exportable_chip(spec: AcceleratorSpec) -> AcceleratorSpec:
    """The chip with 8-bit kernels that a specification is of.

    Raises:
      FreezeError: LiteRT's kernels do not have its arithmetic.
    """
    for chip in EXPORTABLE:
        if spec == chip or spec in map(chip.with_weight_bits, range(2, 9)):
            return chip
    names = ", ".join(chip.name for chip in EXPORTABLE)
    raise FreezeError(f"{spec.name} is no chip to export to: LiteRT has the arithmetic of {names}")


def _encoder(reader: "_Reader", joint: "_Layer") -> EncoderIntegers:
    config = reader.model.config.encoder
    layers = [reader.layer(("encoder", f"lstm_{n}"), LSTM_SITES) for n in range(config.num_layers)]
    frozen = _stack(layers, layers[0].format("input"))
    projection = reader.layer(("encoder", "projection"), DENSE_SITES)
    return EncoderIntegers(
        layers=frozen,
        layers_before_reduction=config.layers_before_reduction,
        time_reduction=config.time_reduction,
        projection=projection.dense(frozen[-1].hidden, joint.format("encoded")),
    )


def _prediction(reader: "_Reader", joint: "_Layer") -> PredictionIntegers:
    config = reader.model.config.prediction
    projection = reader.layer(("prediction", "projection"), DENSE_SITES)
    if isinstance(config, StatelessPredictionConfig):
        count, context = 0, config.context
    else:
        count, context = config.num_layers, 1
    layers = [reader.layer(("prediction", f"lstm_{n}"), LSTM_SITES) for n in range(count)]
    first = layers[0] if layers else projection
    embedding = first.operators.store("input", reader.params["prediction"]["embedding"])
    frozen = _stack(layers, first.format("input"))
    last = frozen[-1].hidden if frozen else first.format("input")
    return PredictionIntegers(
        embedding=np.asarray(embedding.values),
        embedding_format=first.format("input"),
        context=context,
        layers=frozen,
        projection=projection.dense(last, joint.format("predicted")),
    )


def _stack(layers: "list[_Layer]", format: TensorFormat) -> tuple[LstmIntegers, ...]:
    """LSTMs one after the other; each takes what the one before it stored."""
    frozen = []
    for layer in layers:
        frozen.append(layer.lstm(format))
        format = layer.format("hidden")
    return tuple(frozen)


class _Reader:
    """Layers of a model by path, all on one chip."""

    def __init__(self, model: RNNT, variables: PyTree) -> None:
        self.model = model
        self.params = variables["params"]
        self._ranges = variables[RANGES]
        self._chips: set[AcceleratorSpec] = set()

    @property
    def chip(self) -> AcceleratorSpec:
        """The chip that the layers read so far are on, by its kernels of 8 bits."""
        (chip,) = self._chips
        return chip

    def layer(self, path: tuple[str, ...], sites: Sites) -> "_Layer":
        """A layer's operators and parameters."""
        precision = self.model.policy.resolve(path)
        name = "/".join(path)
        if not isinstance(precision, OnAccelerator):
            raise FreezeError(
                f"layer {name} computes in {type(precision).__name__}, not on an accelerator: "
                f"train it under a policy of {', '.join(spec.name for spec in EXPORTABLE)}"
            )
        chip = exportable_chip(precision.spec)
        self._chips.add(chip)
        if len(self._chips) > 1:
            raise FreezeError(
                f"layer {name} is on {chip.name}, others are on {self._chips - {chip}}"
            )
        ranges = _at(self._ranges, path)
        operators = dataclasses.replace(precision.operators(sites, ranges), integer=True)
        return _Layer(name, operators, _at(self.params, path))


class _Layer:
    """One layer's operators with its parameters."""

    def __init__(self, name: str, operators: NnaOperators, params: dict[str, Any]) -> None:
        self.name = name
        self.operators = operators
        self._params = params

    def format(self, site: str) -> TensorFormat:
        """Format of a stored tensor."""
        format = self.operators.spec.tensor(dict(self.operators.sites)[site]).format
        scale = self.operators.load(site, jnp.zeros((), format.storage)).scale
        return TensorFormat(np.dtype(format.storage), np.float32(scale))

    def dense(self, input: TensorFormat, output: TensorFormat) -> DenseIntegers:
        """Dense layer from the format that its input really has."""
        kernel, bias = self._product("kernel", input)
        return DenseIntegers(
            weights=np.ascontiguousarray(np.asarray(kernel.values).T),
            bias=bias,
            input=input,
            output=output,
            weight_scale=np.asarray(kernel.scale, np.float32),
        )

    def lstm(self, input: TensorFormat) -> LstmIntegers:
        """LSTM from the format that its input really has."""
        input_kernel, bias = self._product("input_kernel", input)
        recurrent_kernel = self.operators.weight(
            "recurrent_kernel", self._params["recurrent_kernel"]
        )
        return LstmIntegers(
            w_ih=_by_gate(input_kernel),
            w_hh=_by_gate(recurrent_kernel),
            bias=bias.reshape(4, -1),
            input=input,
            hidden=self.format("hidden"),
            cell=self.format("cell"),
            w_ih_scale=self._gate_scale(input_kernel),
            w_hh_scale=self._gate_scale(recurrent_kernel),
        )

    def _product(self, site: str, input: TensorFormat) -> tuple[QTensor, np.ndarray]:
        """The kernel, and the bias as it lies in the accumulator of a silent input."""
        kernel = self.operators.weight(site, self._params[site])
        silence = jnp.zeros((1, kernel.values.shape[0]), jnp.dtype(input.dtype))
        x = QTensor(silence, jnp.float32(input.scale))
        accumulated = self.operators.accumulate(x, kernel, self._params["bias"])
        bias = np.asarray(accumulated.values[0], np.int64)
        if accumulated.low is None:
            return kernel, bias.astype(np.int32)
        return kernel, (bias << LOW_BITS) + np.asarray(accumulated.low[0], np.int64)

    def _gate_scale(self, kernel: QTensor) -> np.ndarray:
        scale = np.asarray(kernel.scale, np.float32)
        if scale.ndim == 0:
            return np.full(4, scale)
        by_gate = scale.reshape(4, -1)
        if np.all(by_gate == by_gate[:, :1]):
            return by_gate[:, 0]
        return by_gate


def _by_gate(kernel: QTensor) -> np.ndarray:
    """``[in, 4H]``, gates along the last axis, to ``[4, H, in]``."""
    values = np.asarray(kernel.values)
    return np.ascontiguousarray(values.T.reshape(4, -1, values.shape[0]))


def _at(tree: PyTree, path: tuple[str, ...]) -> dict[str, Any]:
    for name in path:
        tree = tree.get(name, {})
    return tree
