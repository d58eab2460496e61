"""Policies that quantize one component of a recognizer, to locate the loss of accuracy.

``POLICY@encoder``, ``@prediction`` and ``@joint`` apply POLICY to that network and compute the
others in floating point. ``CHIP@weights``, ``@activations``, ``@gates`` and ``@state`` round the
tensors of one kind to the chip's formats in every layer, and compute in floating point.
"""

from dataclasses import replace

from rnnt_qat.accelerators.design import GROUPS
from rnnt_qat.quant.grid_only import GridOnly
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32

NETWORKS = ("encoder", "prediction", "joint")
PARTS = (*NETWORKS, *GROUPS)
"""Components that can be quantized alone: networks, and groups of tensors."""


def ablate(policy: PrecisionPolicy, name: str) -> PrecisionPolicy:
    """Returns the policy ``POLICY@NAME``.

    Args:
      policy: the policy of the whole model.
      name: one of ``PARTS``.

    Raises:
      ValueError: the name is unknown, or it is a group of tensors and the policy is not one chip.
    """
    if name in NETWORKS:
        rules = tuple(
            replace(rule, pattern=f"{name}*" if rule.pattern == "*" else rule.pattern)
            for rule in policy.rules
            if rule.pattern == "*" or rule.pattern.startswith(name)
        )
        return PrecisionPolicy(f"{policy.name}@{name}", (*rules, Rule("*", Float32())))
    if name not in GROUPS:
        known = ", ".join(PARTS)
        raise ValueError(f"{policy.name}@{name}: there is no such part; there are {known}")
    precisions = {rule.precision for rule in policy.rules}
    chips = [p.spec for p in precisions if isinstance(p, OnAccelerator)]
    if len(chips) != 1 or len(precisions) != 1:
        raise ValueError(
            f"{policy.name}@{name}: formats of tensors are a chip's, and {policy.name!r} is not "
            f"one chip for all layers; its parts are {', '.join(NETWORKS)}"
        )
    rule = replace(policy.rules[-1], precision=GridOnly(chips[0], GROUPS[name]))
    return PrecisionPolicy(f"{policy.name}@{name}", (rule,))


def ablations(policy: PrecisionPolicy) -> tuple[PrecisionPolicy, ...]:
    """Returns the policies of all components that the policy has."""
    on_chip = all(isinstance(rule.precision, OnAccelerator) for rule in policy.rules)
    return tuple(ablate(policy, name) for name in (*NETWORKS, *(GROUPS if on_chip else ())))
