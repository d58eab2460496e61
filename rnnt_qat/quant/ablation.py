"""Policies that quantize one part of a recognizer: where does the loss of accuracy come from?

``POLICY@encoder``, ``@prediction``, ``@joint`` are POLICY in that network and floating point in
the others. ``CHIP@weights``, ``@activations``, ``@gates``, ``@state`` round the tensors of one kind
to the chip's formats, in every layer, and compute in floating point.
"""

from rnnt_qat.quant.grid_only import GridOnly
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32
from rnnt_qat.quant.sites import Role

NETWORKS = ("encoder", "prediction", "joint")
TENSORS = {
    "weights": frozenset({Role.WEIGHT}),
    "activations": frozenset(
        {Role.INPUT, Role.PROJECTION, Role.JOINT_PRE, Role.JOINT_HIDDEN, Role.LOGITS}
    ),
    "gates": frozenset({Role.GATE_PRE, Role.GATE}),
    "state": frozenset({Role.CELL, Role.HIDDEN}),
}
"""Every role is in one of them."""


def part(policy: PrecisionPolicy, name: str) -> PrecisionPolicy:
    """The policy ``POLICY@NAME``.

    Raises:
      ValueError: there is no such part, or the policy is not one that has it.
    """
    if name in NETWORKS:
        rules = tuple(
            Rule(f"{name}*" if rule.pattern == "*" else rule.pattern, rule.precision)
            for rule in policy.rules
            if rule.pattern == "*" or rule.pattern.startswith(name)
        )
        return PrecisionPolicy(f"{policy.name}@{name}", (*rules, Rule("*", Float32())))
    if name not in TENSORS:
        known = ", ".join((*NETWORKS, *TENSORS))
        raise ValueError(f"{policy.name}@{name}: there is no such part; there are {known}")
    precisions = {rule.precision for rule in policy.rules}
    chips = [p.spec for p in precisions if isinstance(p, OnAccelerator)]
    if len(chips) != 1 or len(precisions) != 1:
        raise ValueError(
            f"{policy.name}@{name}: formats of tensors are a chip's, and {policy.name!r} is not "
            f"one chip for all layers; its parts are {', '.join(NETWORKS)}"
        )
    return PrecisionPolicy(f"{policy.name}@{name}", (Rule("*", GridOnly(chips[0], TENSORS[name])),))


def parts(policy: PrecisionPolicy) -> tuple[PrecisionPolicy, ...]:
    """All parts that the policy has."""
    on_chip = all(isinstance(rule.precision, OnAccelerator) for rule in policy.rules)
    return tuple(part(policy, name) for name in (*NETWORKS, *(TENSORS if on_chip else ())))
