"""A trained model's integers as NumPy arrays with their formats, for artefacts and graphs.

The integers are those of the serving program (``serving.freeze``), laid out as LiteRT's kernels
expect them (``export.layout``); its operators supply scales and formats. Nothing is quantized here.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, Grain
from rnnt_qat.accelerators.tosa_16x8 import TOSA_16X8
from rnnt_qat.artefact.arithmetic import Arithmetic
from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.layer_integers import DenseIntegers
from rnnt_qat.artefact.runtime_arithmetic import LITERT
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.artefact.tosa_arithmetic import TOSA
from rnnt_qat.export.layout import FreezeError as FreezeError
from rnnt_qat.export.layout import lay_out
from rnnt_qat.fixedpoint.wide import Wide
from rnnt_qat.models.binding import layer_sites
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.nna_operators import NnaOperators
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.quantized_module import QUANT_STATS, check_calibrated
from rnnt_qat.quant.recorded import Path
from rnnt_qat.quant.sites import Sites
from rnnt_qat.serving.freeze import frozen_variables
from rnnt_qat.typing import PyTree

EXPORTABLE: dict[AcceleratorSpec, Arithmetic] = {
    ETHOS_U_8X8_16: LITERT,
    ETHOS_U_16X8: LITERT,
    TOSA_16X8: TOSA,
}
"""Arithmetic of artefacts by chip: that of LiteRT's reference kernels, or TOSA's."""


def freeze(model: RNNT, variables: PyTree) -> RnntIntegers:
    """Returns the integers of a calibrated or accelerator-aware trained model.

    Args:
      model: the model, under a policy that assigns every layer to one exportable chip (any weight
        width).
      variables: its parameters and calibrated ranges.

    Raises:
      FreezeError: a layer is not on such a chip, or a range is not calibrated.
    """
    try:
        check_calibrated(variables[QUANT_STATS])
    except (KeyError, ValueError) as error:
        raise FreezeError(f"the model has ranges that were never calibrated: {error}") from error
    _one_chip(model)  # before the ranges, which layers of another arithmetic do not have
    return laid_out(model, frozen_variables(model, variables))


def laid_out(model: RNNT, frozen: PyTree) -> RnntIntegers:
    """Returns the integers of frozen variables, e.g. of some that were changed after freezing.

    Args:
      model: the model, under a policy that assigns every layer to one exportable chip.
      frozen: variables as ``serving.freeze.frozen_variables`` returns them.

    Raises:
      FreezeError: a layer is not on such a chip.
      ValueError: some input overflows a word of the runtimes; names the layer.
    """
    chip = _one_chip(model)
    reader = _Reader(model, frozen)
    # Layers are recorded from the shapes of their parameters, of which a wide bias is one.
    shapes = jax.tree.map(
        lambda leaf: leaf.low if isinstance(leaf, Wide) else leaf,
        frozen["params"],
        is_leaf=lambda leaf: isinstance(leaf, Wide),
    )
    return lay_out(
        model.config,
        shapes,
        reader.layer,
        reader.table,
        chip.name,
        chip.fused_gate_sum,
        EXPORTABLE[chip],
    )


def _one_chip(model: RNNT) -> AcceleratorSpec:
    """Returns the chip of all layers; raises FreezeError if there is no such chip."""
    chips: dict[AcceleratorSpec, str] = {}
    for path in layer_sites(model.config):
        precision, name = model.policy.resolve(path), "/".join(path)
        if not isinstance(precision, OnAccelerator):
            raise FreezeError(
                f"layer {name} computes in {type(precision).__name__}, not on an accelerator: "
                f"train it under a policy of {', '.join(spec.name for spec in EXPORTABLE)}"
            )
        try:
            chips[exportable_chip(precision.spec)] = name
        except FreezeError as error:
            raise FreezeError(f"layer {name}: {error}") from error
    if len(chips) > 1:
        places = ", ".join(f"{layer} on {chip.name}" for chip, layer in chips.items())
        raise FreezeError(f"layers are on different chips: {places}")
    return next(iter(chips))


def exportable_chip(spec: AcceleratorSpec) -> AcceleratorSpec:
    """Returns the exportable chip with 8-bit kernels that a specification derives from.

    Raises:
      FreezeError: neither LiteRT's kernels nor TOSA have its arithmetic.
    """
    weights = spec.tensor(Role.WEIGHT)
    for chip in EXPORTABLE:
        # Narrow kernels lie on the 8-bit grid, and LiteRT's LSTM has one scale per gate in any
        # case.
        known = chip.tensor(Role.WEIGHT)
        tensor_format = replace(known.format, bits=weights.format.bits)
        grain = Grain.GATE if weights.grain is Grain.GATE else Grain.TENSOR
        kernels = replace(known, format=tensor_format, grain=grain)
        tensors = tuple(kernels if t is known else t for t in chip.tensors)
        if replace(chip, name=spec.name, tensors=tensors) == spec:
            return chip
    names = ", ".join(chip.name for chip in EXPORTABLE)
    raise FreezeError(
        f"{spec.name} is no chip to export to: LiteRT or TOSA has the arithmetic of {names}"
    )


class _Reader:
    """Layers of a frozen model by path."""

    def __init__(self, model: RNNT, frozen: PyTree) -> None:
        self._params = frozen["params"]
        self._ranges = frozen[QUANT_STATS]
        self._policy = model.policy.for_serving()

    def layer(self, path: Path, sites: Sites) -> "_Layer":
        """Returns the operators and integers of a layer."""
        precision = self._policy.resolve(path)
        ranges = {site: value for site, value in _at(self._ranges, path).items() if site in sites}
        operators = precision.operators(sites, ranges)
        assert isinstance(operators, NnaOperators)  # every layer is on the chip
        return _Layer(operators, _at(self._params, path))

    def table(self, path: Path, tensor_format: TensorFormat) -> Integer[np.ndarray, "V E"]:
        """Returns a table, which was frozen in the format of the layer that reads it."""
        return np.asarray(_at(self._params, path[:-1])[path[-1]])


class _Layer:
    """Operators and integers of one layer; implements ``LayerIntegers``."""

    def __init__(self, operators: NnaOperators, params: dict[str, Any]) -> None:
        self._operators = operators
        self._params = params

    def format(self, site: str) -> TensorFormat:
        """Returns the format of a stored tensor."""
        tensor_format = self._operators.spec.tensor(dict(self._operators.sites)[site]).format
        scale = self._operators.load(site, jnp.zeros((), tensor_format.storage)).scale
        return TensorFormat(np.dtype(tensor_format.storage), np.float32(scale))

    def dense(
        self, kernel: str, bias: str | None, input_format: TensorFormat, output_format: TensorFormat
    ) -> DenseIntegers:
        """Returns a matrix product whose input has the given format.

        Args:
          kernel: name of the kernel.
          bias: name of the bias; None for no bias.
          input_format: actual format of the input.
          output_format: format of the result.
        """
        weights = self._operators.weight(kernel, self._params[kernel])
        return DenseIntegers(
            weights=np.ascontiguousarray(np.asarray(weights.values).T),
            bias=None if bias is None else _bias(self._params[bias]),
            input=input_format,
            output=output_format,
            weight_scale=np.asarray(weights.scale, np.float32),
        )


def _bias(bias: Any) -> Integer[np.ndarray, "M"]:
    """Returns int32, or int64 if the accumulator has more than 32 bits."""
    if isinstance(bias, Wide):
        high, low = (np.asarray(word).astype(np.int64) for word in bias)
        return (high << 32) + low
    return np.asarray(bias, np.int32)


def _at(tree: PyTree, path: Path) -> dict[str, Any]:
    for name in path:
        tree = tree.get(name, {})
    return tree
