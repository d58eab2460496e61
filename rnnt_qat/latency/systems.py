"""Kinds of recognizers that are deployed on a chip."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.export.freeze import FreezeError, exportable_chip
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.precision import Float32, IntegerMatmul


class Method(enum.Enum):
    """Method that produced the arithmetic of a recognizer."""

    FLOAT = "float"
    """Floating point, which an integer NPU cannot run."""
    POST_TRAINING = "post-training"
    """All of a chip's arithmetic, calibrated after training."""
    FALLBACK = "CPU fallback"
    """Integer matrix products on the NPU, and every operator between them on the CPU."""
    AWARE = "AAT"
    """All of a chip's arithmetic, used in training."""


@dataclass(frozen=True)
class System:
    """A recognizer in tables and plots.

    Attributes:
      name: name, unique among those compared.
      method: method that produced its arithmetic.
      weight_bits: width of its kernels, e.g. ``4``; ``32`` for floating point.
      shape: variant of its LSTMs in the graphs, ``8x8_16`` or ``16x8``; empty for floating point.
      trained: whether it was trained through its policy instead of calibrated only.
    """

    name: str
    method: Method
    weight_bits: str
    shape: str
    trained: bool = False


def describe(policy: PrecisionPolicy, trained: bool) -> System:
    """Returns the system of a model under a policy.

    Args:
      policy: floating point, integer products, or one exportable chip, in all layers.
      trained: whether the model was trained through the policy instead of calibrated only.

    Raises:
      FreezeError: the policy mixes these, or its chip has no runtime to export to.
    """
    precisions = [rule.precision for rule in policy.rules]
    if all(isinstance(p, Float32) for p in precisions):
        return System("float", Method.FLOAT, "32", "")
    products = [p for p in precisions if isinstance(p, IntegerMatmul)]
    if len(products) == len(precisions):
        bits = _joined(p.weight_bits for p in products)
        activations = _joined(p.activation_bits for p in products)
        stage = "trained" if trained else "calibrated"
        name = f"{Method.FALLBACK.value} W{bits}A{activations}, {stage}"
        return System(name, Method.FALLBACK, bits, "16x8", trained)
    chips = [p.spec for p in precisions if isinstance(p, OnAccelerator)]
    if len(chips) < len(precisions):
        raise FreezeError(
            f"policy {policy.name!r} mixes arithmetics; export takes floating point, integer "
            "matrix products or one chip, for all layers"
        )
    bits = _joined(spec.tensor(Role.WEIGHT).format.bits for spec in chips)
    shape = _joined(exportable_chip(spec).name.removeprefix("ethos_u_") for spec in chips)
    method = Method.AWARE if trained else Method.POST_TRAINING
    return System(f"{method.value} W{bits} {shape}", method, bits, shape, trained)


def _joined(values: Iterable[object]) -> str:
    """Returns the distinct values, in order, separated by slashes."""
    return "/".join(dict.fromkeys(map(str, values)))
