"""What kinds of recognizers are taken to a chip, and how each gets its integers."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.export.freeze import FreezeError, exportable_chip
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.precision import Float32, IntegerMatmul


class Method(enum.Enum):
    """How a recognizer came to its arithmetic."""

    FLOAT = "float"
    """Floating point: nothing that an integer NPU could run."""
    POST_TRAINING = "post-training"
    """All of a chip's arithmetic, calibrated, not trained through."""
    FALLBACK = "CPU fallback"
    """Integer matrix products on the NPU, every operator between them on the CPU."""
    AWARE = "AAT"
    """All of a chip's arithmetic, trained through."""


@dataclass(frozen=True)
class System:
    """A recognizer in tables and plots.

    Attributes:
      name: unique among those compared.
      method: how it came to its arithmetic.
      weight_bits: of its kernels, e.g. ``4``; ``32`` for floating point.
      shape: of its LSTMs in the graphs: ``8x8_16``, ``16x8``; empty for floating point.
      trained: whether it was trained through its policy, else calibrated.
    """

    name: str
    method: Method
    weight_bits: str
    shape: str
    trained: bool = False


def describe(policy: PrecisionPolicy, trained: bool) -> System:
    """The system of a model under a policy.

    Args:
      policy: all floating point, all integer products, or all on one exportable chip.
      trained: whether it was trained through the policy, else calibrated.

    Raises:
      FreezeError: the policy mixes kinds, or its chip has no runtime to export to.
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
    """Distinct values, in order."""
    return "/".join(dict.fromkeys(map(str, values)))
