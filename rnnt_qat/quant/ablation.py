"""Policies that quantize one part of a recognizer: where does the loss of accuracy come from?

``POLICY@encoder``, ``@prediction``, ``@joint`` are POLICY in that network and floating point in
the others. ``CHIP@weights``, ``@activations``, ``@gates``, ``@state`` round the tensors of one kind
to the chip's formats, in every layer, and compute in floating point.
"""

from dataclasses import replace

from rnnt_qat.accelerators.design import GROUPS
from rnnt_qat.quant.grid_only import GridOnly
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32

NETWORKS = ("encoder", "prediction", "joint")
PARTS = (*NETWORKS, *GROUPS)
"""What may be quantized alone: networks, and groups of tensors."""


def part(policy: PrecisionPolicy, name: str) -> PrecisionPolicy:
    """The policy ``POLICY@NAME``.

    Raises:
      ValueError: there is no such part, or the policy is not one that has it.
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


def parts(policy: PrecisionPolicy) -> tuple[PrecisionPolicy, ...]:
    """All parts that the policy has."""
    on_chip = all(isinstance(rule.precision, OnAccelerator) for rule in policy.rules)
    return tuple(part(policy, name) for name in (*NETWORKS, *(GROUPS if on_chip else ())))
