"""What a policy is taken to a chip as."""

import pytest

from rnnt_qat.export.freeze import FreezeError
from rnnt_qat.latency.systems import Method, System, describe
from rnnt_qat.quant.policies import ENCODER_W4_JOINT_W8, policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy, Rule


@pytest.mark.parametrize(
    ("name", "trained", "expected"),
    [
        ("float32", False, System("float", Method.FLOAT, "32", "")),
        ("w4a8", True, System("CPU fallback W4A8, trained", Method.FALLBACK, "4", "16x8", True)),
        ("ethos_u_16x8_w2", True, System("AAT W2 16x8", Method.AWARE, "2", "16x8", True)),
        (
            "ethos_u_8x8_16",
            False,
            System("post-training W8 8x8_16", Method.POST_TRAINING, "8", "8x8_16"),
        ),
    ],
)
def test_policies_are_systems(name, trained, expected):
    assert describe(policy_by_name(name), trained) == expected


def test_bits_of_a_mixture_are_all_named():
    assert describe(ENCODER_W4_JOINT_W8, False).weight_bits == "4/8"


def test_what_cannot_be_exported_is_refused():
    with pytest.raises(FreezeError, match="generic_nna_w4 is no chip to export to"):
        describe(policy_by_name("generic_nna_w4"), True)
    rules = [Rule(f"{room}/*", policy_by_name(name).resolve((room,))) for room, name in
             (("encoder", "ethos_u_16x8"), ("*", "w8a8"))]  # fmt: skip
    with pytest.raises(FreezeError, match="'mixed' mixes arithmetics"):
        describe(PrecisionPolicy("mixed", tuple(rules)), True)
