"""Ready-made precision policies, by the name that configs and the command line use.

Two families, and mixtures of them by layer:

- ``w{bits}a{bits}``: matrix products alone, of integers of so many bits (AQT's integer
  ``dot_general``), with floating point between them. It is what quantization toolkits train, and
  what stays on a chip that leaves its other operators to the CPU: the matmul-only baseline.
- ``{chip}``, ``{chip}_w4``, ``{chip}_w2``: all of a chip's arithmetic, with kernels of 8, 4 or 2
  bits; those below 8 sit on its 8-bit grid.

``POLICY@PART`` quantizes one part alone (``quant.ablation``). What follows a ``+`` changes one
thing in all layers, and several may follow each other (``ethos_u_16x8+mse+lsq``):

- ``+moving_average``, ``+percentile``, ``+mse``: how ranges are calibrated, instead of by the
  largest magnitude (``quant.observers``);
- ``+tqt``, ``+lsq``: a chip's ranges are trained once they are calibrated, those of its kernels too
  (``quant.learned_ranges``); ``tqt`` is for chips whose scales are all powers of two;
- ``+unit_slope``: a chip's sigmoid and tanh have the gradient of the curve that its units draw,
  instead of the exact function's (``quant.nna_operators.Slope``).
"""

from collections.abc import Callable
from dataclasses import replace

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.accelerators.spec import AcceleratorSpec
from rnnt_qat.quant.ablation import part
from rnnt_qat.quant.learned_ranges import LearnedRange, LearnedStep, TrainedThreshold
from rnnt_qat.quant.nna_operators import Slope
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.observers import (
    MovingAverageObserver,
    MseObserver,
    Observer,
    PercentileObserver,
)
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32, IntegerMatmul, Precision


def _everywhere(name: str, precision: Precision) -> PrecisionPolicy:
    return PrecisionPolicy(name, (Rule("*", precision),))


def _chip(spec: AcceleratorSpec) -> tuple[PrecisionPolicy, ...]:
    """A chip with kernels of 8, 4 and 2 bits."""
    return (
        _everywhere(spec.name, OnAccelerator(spec)),
        _everywhere(f"{spec.name}_w4", OnAccelerator(spec.with_weight_bits(4))),
        _everywhere(f"{spec.name}_w2", OnAccelerator(spec.with_weight_bits(2))),
    )


FLOAT32 = _everywhere("float32", Float32())
W8A8 = _everywhere("w8a8", IntegerMatmul(weight_bits=8, activation_bits=8))
W8A16 = _everywhere("w8a16", IntegerMatmul(weight_bits=8, activation_bits=16))
W4A8 = _everywhere("w4a8", IntegerMatmul(weight_bits=4, activation_bits=8))
W2A8 = _everywhere("w2a8", IntegerMatmul(weight_bits=2, activation_bits=8))
ENCODER_W4_JOINT_W8 = PrecisionPolicy(
    "encoder_w4_joint_w8",
    (Rule("encoder/*", IntegerMatmul(weight_bits=4)), Rule("*", IntegerMatmul(weight_bits=8))),
)

POLICIES = {
    policy.name: policy
    for policy in (
        FLOAT32,
        W8A8,
        W8A16,
        W4A8,
        W2A8,
        ENCODER_W4_JOINT_W8,
        *_chip(GENERIC_NNA),
        *_chip(ETHOS_U_8X8_16),
        *_chip(ETHOS_U_16X8),
    )
}

Change = Callable[[PrecisionPolicy], PrecisionPolicy]


def _on_chip(
    policy: PrecisionPolicy, change: Callable[[OnAccelerator], OnAccelerator]
) -> PrecisionPolicy:
    """The policy with its chip's layers changed; others must be in floating point."""
    precisions = [rule.precision for rule in policy.rules]
    on_chip = [isinstance(p, OnAccelerator) for p in precisions]
    if not any(on_chip) or not all(isinstance(p, OnAccelerator | Float32) for p in precisions):
        raise ValueError(f"it is for layers on a chip, and {policy.name} has others")
    rules = tuple(
        replace(rule, precision=change(rule.precision))
        if isinstance(rule.precision, OnAccelerator)
        else rule
        for rule in policy.rules
    )
    return replace(policy, rules=rules)


def _observed(observer: Observer) -> Change:
    return lambda policy: replace(policy, observer=observer)


def _learned(learned: LearnedRange) -> Change:
    def trained(precision: OnAccelerator) -> OnAccelerator:
        learned.check(precision.spec)
        return replace(precision, trained_ranges=True)

    return lambda policy: replace(_on_chip(policy, trained), learned=learned)


def _slope(slope: Slope) -> Change:
    return lambda policy: _on_chip(policy, lambda precision: replace(precision, slope=slope))


CHANGES: dict[str, dict[str, Change]] = {
    "observer": {
        "moving_average": _observed(MovingAverageObserver()),
        "percentile": _observed(PercentileObserver()),
        "mse": _observed(MseObserver()),
    },
    "ranges": {"tqt": _learned(TrainedThreshold()), "lsq": _learned(LearnedStep())},
    "slope": {"unit_slope": _slope(Slope.UNIT)},
}
"""What may follow a ``+``, by what it changes: of each kind one at most."""


def policy_by_name(name: str) -> PrecisionPolicy:
    """The ready-made policy, or a part of it, with its changes.

    Raises:
      ValueError: a name is unknown, or a change does not suit the policy or an earlier change.
    """
    rules, *changes = name.split("+")
    whole, at, component = rules.partition("@")
    if whole not in POLICIES:
        raise ValueError(f"unknown precision policy {whole!r}; ready-made: {', '.join(POLICIES)}")
    policy = part(POLICIES[whole], component) if at else POLICIES[whole]
    changed: dict[str, str] = {}
    for change in changes:
        kind = next((kind for kind, known in CHANGES.items() if change in known), None)
        if kind is None:
            known = ", ".join(f"+{each}" for kind in CHANGES.values() for each in kind)
            raise ValueError(f"{name}: there is no +{change}; there are {known}")
        if kind in changed:
            raise ValueError(f"{name}: +{changed[kind]} and +{change} exclude each other")
        changed[kind] = change
        try:
            policy = CHANGES[kind][change](policy)
        except ValueError as error:
            raise ValueError(f"{name}: +{change}: {error}") from None
    return replace(policy, name=name)
