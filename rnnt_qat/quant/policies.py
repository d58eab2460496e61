"""Ready-made precision policies, by the name that configs and the command line use.

Two families, and mixtures of them by layer:

- ``w{bits}a{bits}``: matrix products alone, of integers of so many bits (AQT's integer
  ``dot_general``), with floating point between them. It is what quantization toolkits train, and
  what stays on a chip that leaves its other operators to the CPU: the matmul-only baseline.
- ``{chip}``, ``{chip}_w4``, ``{chip}_w2``: all of a chip's arithmetic, with kernels of 8, 4 or 2
  bits; those below 8 sit on its 8-bit grid.

``POLICY@PART`` quantizes one part alone (``quant.ablation``). ``POLICY+OBSERVER`` calibrates its
ranges by another rule than the largest magnitude.
"""

from dataclasses import replace

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.accelerators.spec import AcceleratorSpec
from rnnt_qat.quant.ablation import part
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


OBSERVERS: dict[str, Observer] = {
    "moving_average": MovingAverageObserver(),
    "percentile": PercentileObserver(),
    "mse": MseObserver(),
}


def policy_by_name(name: str) -> PrecisionPolicy:
    """The ready-made policy, a part of it, with its observer; an unknown name is an error."""
    rules, plus, observer = name.partition("+")
    whole, at, component = rules.partition("@")
    if whole not in POLICIES:
        raise ValueError(f"unknown precision policy {whole!r}; ready-made: {', '.join(POLICIES)}")
    policy = part(POLICIES[whole], component) if at else POLICIES[whole]
    if not plus:
        return policy
    if observer not in OBSERVERS:
        raise ValueError(f"{name}: there is no observer {observer!r}; {', '.join(OBSERVERS)}")
    return replace(policy, name=name, observer=OBSERVERS[observer])
