"""A trained model's integers as NumPy arrays with their formats: what artefacts and graphs hold.

The integers are those of the serving program (``serving.freeze``), laid out as LiteRT's kernels
take them; scales and formats are what its operators attach. Nothing is quantized here.
"""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, Grain
from rnnt_qat.artefact.arithmetic import LITERT
from rnnt_qat.artefact.integers import (
    DenseIntegers,
    EncoderIntegers,
    JointIntegers,
    LstmIntegers,
    PredictionIntegers,
    RnntIntegers,
)
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.fixedpoint.wide import Wide
from rnnt_qat.infra.errors import UserError
from rnnt_qat.layers.dense import DENSE_SITES
from rnnt_qat.layers.lstm import LSTM_SITES
from rnnt_qat.models.joint import JOINT_SITES
from rnnt_qat.models.prediction import StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.nna_operators import NnaOperators
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.qtensor import QTensor
from rnnt_qat.quant.quantized_module import RANGES, check_calibrated
from rnnt_qat.quant.sites import Sites
from rnnt_qat.serving.freeze import frozen_variables
from rnnt_qat.typing import PyTree

EXPORTABLE = (ETHOS_U_8X8_16, ETHOS_U_16X8)
"""Chips whose arithmetic LiteRT's reference kernels have."""


class FreezeError(UserError, ValueError):
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
    _require_one_chip(model, variables)
    reader = _Reader(model, frozen_variables(model, variables))
    joint = reader.layer(("joint",), JOINT_SITES)
    return RnntIntegers(
        chip=exportable_chip(joint.operators.spec).name,
        encoder=_encoder(reader, joint),
        prediction=_prediction(reader, joint),
        joint=JointIntegers(
            sum=joint.format("hidden_pre"),
            hidden=joint.format("hidden"),
            output=joint.dense(joint.format("hidden"), joint.format("logits")),
        ),
        arithmetic=LITERT,
    )


def _require_one_chip(model: RNNT, variables: PyTree) -> None:
    """Refuses layers off exportable chips, or on different ones."""
    chips: dict[str, str] = {}
    networks = {name: variables["params"][name] for name in ("encoder", "prediction", "joint")}
    for *path, leaf in flatten_dict(networks):
        if leaf != "bias":  # each layer has one
            continue
        precision, name = model.policy.resolve(tuple(path)), "/".join(path)
        if not isinstance(precision, OnAccelerator):
            raise FreezeError(
                f"layer {name} computes in {type(precision).__name__}, not on an accelerator: "
                f"train it under a policy of {', '.join(spec.name for spec in EXPORTABLE)}"
            )
        try:
            chips[exportable_chip(precision.spec).name] = name
        except FreezeError as error:
            raise FreezeError(f"layer {name}: {error}") from error
    if len(chips) > 1:
        places = ", ".join(f"{layer} on {chip}" for chip, layer in chips.items())
        raise FreezeError(f"layers are on different chips: {places}")


def exportable_chip(spec: AcceleratorSpec) -> AcceleratorSpec:
    """The chip with 8-bit kernels that a specification is of.

    Raises:
      FreezeError: LiteRT's kernels do not have its arithmetic.
    """
    weights = spec.tensor(Role.WEIGHT)
    for chip in EXPORTABLE:
        # Narrow kernels lie on the 8-bit grid, and LiteRT's LSTM has a scale a gate anyway.
        known = chip.tensor(Role.WEIGHT)
        format = replace(known.format, bits=weights.format.bits)
        grain = Grain.GATE if weights.grain is Grain.GATE else Grain.TENSOR
        kernels = replace(known, format=format, grain=grain)
        tensors = tuple(kernels if t is known else t for t in chip.tensors)
        if replace(chip, name=spec.name, tensors=tensors) == spec:
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
    frozen = _stack(layers, first.format("input"))
    last = frozen[-1].hidden if frozen else first.format("input")
    return PredictionIntegers(
        embedding=np.asarray(reader.params["prediction"]["embedding"]),
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
    """Layers of a frozen model by path."""

    def __init__(self, model: RNNT, frozen: PyTree) -> None:
        self.model = model
        self.params = frozen["params"]
        self._ranges = frozen[RANGES]
        self._policy = model.policy.for_serving()

    def layer(self, path: tuple[str, ...], sites: Sites) -> "_Layer":
        """A layer's operators and integers."""
        precision = self._policy.resolve(path)
        ranges = {site: value for site, value in _at(self._ranges, path).items() if site in sites}
        operators = precision.operators(sites, ranges)
        assert isinstance(operators, NnaOperators)  # every layer is on the chip
        return _Layer(operators, _at(self.params, path))


class _Layer:
    """One layer's operators with its integers."""

    def __init__(self, operators: NnaOperators, params: dict[str, Any]) -> None:
        self.operators = operators
        self._params = params

    def format(self, site: str) -> TensorFormat:
        """Format of a stored tensor."""
        format = self.operators.spec.tensor(dict(self.operators.sites)[site]).format
        scale = self.operators.load(site, jnp.zeros((), format.storage)).scale
        return TensorFormat(np.dtype(format.storage), np.float32(scale))

    def dense(self, input: TensorFormat, output: TensorFormat) -> DenseIntegers:
        """Dense layer from the format that its input really has."""
        kernel = self._kernel("kernel")
        return DenseIntegers(
            weights=np.ascontiguousarray(np.asarray(kernel.values).T),
            bias=self._bias(),
            input=input,
            output=output,
            weight_scale=np.asarray(kernel.scale, np.float32),
        )

    def lstm(self, input: TensorFormat) -> LstmIntegers:
        """LSTM from the format that its input really has."""
        input_kernel = self._kernel("input_kernel")
        recurrent_kernel = self._kernel("recurrent_kernel")
        return LstmIntegers(
            w_ih=_by_gate(input_kernel),
            w_hh=_by_gate(recurrent_kernel),
            bias=self._bias().reshape(4, -1),
            input=input,
            hidden=self.format("hidden"),
            cell=self.format("cell"),
            w_ih_scale=self._gate_scale(input_kernel),
            w_hh_scale=self._gate_scale(recurrent_kernel),
        )

    def _kernel(self, site: str) -> QTensor:
        return self.operators.weight(site, self._params[site])

    def _bias(self) -> np.ndarray:
        """int32, or int64 where the accumulator is wider than that."""
        bias = self._params["bias"]
        if isinstance(bias, Wide):
            high, low = (np.asarray(word).astype(np.int64) for word in bias)
            return (high << 32) + low
        return np.asarray(bias, np.int32)

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
