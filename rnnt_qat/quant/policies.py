"""Ready-made precision policies, by the name that configs and the command line use."""

from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32, IntegerMatmul

FLOAT32 = PrecisionPolicy("float32", (Rule("*", Float32()),))
W8A8 = PrecisionPolicy("w8a8", (Rule("*", IntegerMatmul(weight_bits=8, activation_bits=8)),))
W4A8 = PrecisionPolicy("w4a8", (Rule("*", IntegerMatmul(weight_bits=4, activation_bits=8)),))
W2A8 = PrecisionPolicy("w2a8", (Rule("*", IntegerMatmul(weight_bits=2, activation_bits=8)),))
ENCODER_W4_JOINT_W8 = PrecisionPolicy(
    "encoder_w4_joint_w8",
    (Rule("encoder/*", IntegerMatmul(weight_bits=4)), Rule("*", IntegerMatmul(weight_bits=8))),
)

POLICIES = {policy.name: policy for policy in (FLOAT32, W8A8, W4A8, W2A8, ENCODER_W4_JOINT_W8)}


def policy_by_name(name: str) -> PrecisionPolicy:
    """The ready-made policy; an unknown name is an error that lists them."""
    if name not in POLICIES:
        raise ValueError(f"unknown precision policy {name!r}; ready-made: {', '.join(POLICIES)}")
    return POLICIES[name]
