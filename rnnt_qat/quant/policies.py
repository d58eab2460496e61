"""Precision policies by the line that configs, command lines and model directories contain.

``quant.grammar`` is the grammar of the line; this file holds the names and builds the arithmetic.
There are two families, and a policy may mix them by layer:

- ``w{bits}a{bits}``: integer matrix products only (AQT's integer ``dot_general``), with floating
  point between them. This is what quantization toolkits train, and what runs on a chip that leaves
  its other operators to the CPU: the matmul-only baseline.
- ``{chip}``, ``{chip}_w{bits}``: all of a chip's arithmetic, with kernels of 8 to 2 bits; kernels
  below 8 bits are stored on its 8-bit grid. ``{chip}{field=value}`` is the chip with changed fields
  (``accelerators.design``).

``POLICY@PART`` quantizes one component only (``quant.ablation``). A suffix after ``+`` changes one
property in all layers; suffixes can be combined (``ethos_u_16x8+mse+lsq``):

- ``+moving_average``, ``+percentile``, ``+mse``: the method that calibrates ranges, instead of the
  largest magnitude (``quant.observers``);
- ``+tqt``, ``+lsq``: the ranges of a chip, kernels included, are trained after calibration
  (``quant.learned_ranges``); ``tqt`` requires that all scales of the chip are powers of two;
- ``+unit_slope``: sigmoid and tanh have the gradient of the curve that the chip's units compute,
  instead of that of the exact function (``quant.nna_operators.Slope``).
"""

import functools
from collections.abc import Callable
from dataclasses import replace

from rnnt_qat.accelerators.design import changed_chip
from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.accelerators.generic_nna_crude import GENERIC_NNA_CRUDE
from rnnt_qat.accelerators.tosa_16x8 import TOSA_16X8
from rnnt_qat.quant.ablation import PARTS, ablate
from rnnt_qat.quant.grammar import PolicyError, Vocabulary, parse_policies
from rnnt_qat.quant.learned_ranges import LearnedRange, LearnedStep, TrainedThreshold
from rnnt_qat.quant.nna_operators import Slope
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.observers import (
    MaxObserver,
    MovingAverageObserver,
    MseObserver,
    Observer,
    PercentileObserver,
)
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.policy_spec import (
    ALIASES,
    FLOAT,
    MATMUL,
    OBSERVER,
    PolicySpec,
    PrecisionSpec,
)
from rnnt_qat.quant.precision import Float32, IntegerMatmul, Precision

CHIPS = {
    spec.name: spec
    for spec in (GENERIC_NNA, GENERIC_NNA_CRUDE, ETHOS_U_8X8_16, ETHOS_U_16X8, TOSA_16X8)
}
"""Chips by their name in policies."""

OBSERVERS: dict[str, Observer] = {
    "max": MaxObserver(),
    "moving_average": MovingAverageObserver(),
    "percentile": PercentileObserver(),
    "mse": MseObserver(),
}
LEARNED_RANGES: dict[str, LearnedRange] = {"tqt": TrainedThreshold(), "lsq": LearnedStep()}
UNIT_SLOPE = "unit_slope"

READY_MADE = (
    FLOAT,
    "w8a8",
    "w8a16",
    "w4a8",
    "w2a8",
    *ALIASES,
    *(name for chip in CHIPS for name in (chip, f"{chip}_w4", f"{chip}_w2")),
)
"""Lines that have a name of their own in tables and tests."""

VOCABULARY = Vocabulary(
    bases=(FLOAT, MATMUL, *CHIPS),
    ready_made=READY_MADE,
    parts=PARTS,
    suffixes={
        "observer": [name for name in OBSERVERS if name != "max"],
        "ranges": list(LEARNED_RANGES),
        "slope": [UNIT_SLOPE],
    },
)


def build_precision(spec: PrecisionSpec) -> Precision:
    """Builds the arithmetic of a precision.

    Raises:
      ValueError: no chip can have this combination of fields; names the field.
    """
    values = {field: value for field, value in spec.values.items() if field != OBSERVER}
    if spec.base == FLOAT:
        return Float32()
    if spec.base == MATMUL:
        weights, activations = values["weights.bits"], values["activations.bits"]
        return IntegerMatmul(weight_bits=int(weights), activation_bits=int(activations))
    return OnAccelerator(changed_chip(CHIPS[spec.base], values, str(spec)))


@functools.cache
def build_policy(spec: PolicySpec) -> PrecisionPolicy:
    """Builds the policy of a specification; its name is the line of the specification.

    Raises:
      ValueError: a field or suffix does not apply to the chip.
    """
    rules = [(rule.pattern, rule.precision) for rule in spec.rules] + [("*", spec.default)]
    policy = PrecisionPolicy(
        str(PolicySpec(spec.default, spec.rules)),
        tuple(Rule(pattern, build_precision(p), _observer(p)) for pattern, p in rules),
    )
    if spec.part:
        policy = ablate(policy, spec.part)
    if spec.slope:
        policy = _on_chip(policy, "unit_slope", lambda p: replace(p, slope=Slope.UNIT))
    if spec.ranges:
        learned = LEARNED_RANGES[spec.ranges]

        def trained(precision: OnAccelerator) -> OnAccelerator:
            try:
                learned.check(precision.spec)
            except ValueError as error:
                raise ValueError(f"+{spec.ranges}: {error}") from None
            return replace(precision, trained_ranges=True)

        policy = replace(_on_chip(policy, spec.ranges, trained), learned=learned)
    return replace(policy, name=str(spec), observer=OBSERVERS[spec.observer or "max"])


def parse_policy(text: str) -> PolicySpec:
    """Parses a line that stands for one policy.

    Raises:
      PolicyError: the line is not valid, or stands for several policies.
    """
    found = policy_choices(text)
    if len(found) > 1:
        raise PolicyError(
            text, text.index("=[") + 1, f"these are {len(found)} policies; a sweep takes them"
        )
    return found[0]


def policy_choices(text: str) -> tuple[PolicySpec, ...]:
    """Parses a line with choices; the first choice varies slowest.

    Raises:
      PolicyError: the line is not valid.
    """
    return parse_policies(text, VOCABULARY, build_policy)


def policy_by_name(text: str) -> PrecisionPolicy:
    """Builds the policy of a line, e.g. of a ready-made name.

    Raises:
      PolicyError: the line is not valid; the message marks the position.
    """
    return build_policy(parse_policy(text))


def spec_of(policy: PrecisionPolicy) -> PolicySpec:
    """Returns the specification of a policy.

    Raises:
      ValueError: the policy has rules that its name does not express.
    """
    spec = parse_policy(policy.name)
    if build_policy(spec) != policy:
        raise ValueError(
            f"policy {policy.name!r} is not what its name builds, so it cannot be written down: "
            "make it with policy_by_name"
        )
    return spec


def _observer(spec: PrecisionSpec) -> Observer | None:
    name = spec.values.get(OBSERVER)
    return None if name is None else OBSERVERS[str(name)]


def _on_chip(
    policy: PrecisionPolicy, suffix: str, change: Callable[[OnAccelerator], OnAccelerator]
) -> PrecisionPolicy:
    """Returns the policy with the precision of its layers on the chip changed.

    Args:
      policy: the policy; layers that are not on a chip must be in floating point.
      suffix: the suffix that asks for the change, for the error message.
      change: maps a precision to the changed one.

    Raises:
      ValueError: no layer is on a chip, or another layer has integer products alone.
    """
    precisions = [rule.precision for rule in policy.rules]
    on_chip = [isinstance(p, OnAccelerator) for p in precisions]
    if not any(on_chip) or not all(isinstance(p, OnAccelerator | Float32) for p in precisions):
        raise ValueError(f"+{suffix}: it is for layers on a chip, and {policy.name} has others")
    rules = tuple(
        replace(rule, precision=change(rule.precision))
        if isinstance(rule.precision, OnAccelerator)
        else rule
        for rule in policy.rules
    )
    return replace(policy, rules=rules)


FLOAT32 = policy_by_name("float32")
POLICIES = {name: policy_by_name(name) for name in READY_MADE}
W8A8, W8A16 = POLICIES["w8a8"], POLICIES["w8a16"]
W4A8, W2A8 = POLICIES["w4a8"], POLICIES["w2a8"]
ENCODER_W4_JOINT_W8 = POLICIES["encoder_w4_joint_w8"]
