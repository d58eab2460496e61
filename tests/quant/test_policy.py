import pytest

from rnnt_qat.quant.policies import POLICIES, policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32, IntegerMatmul


def test_first_match_wins():
    policy = PrecisionPolicy(
        "mixed", (Rule("encoder/*", IntegerMatmul(weight_bits=4)), Rule("*", Float32()))
    )
    assert policy.resolve(("encoder", "lstm_0")) == IntegerMatmul(weight_bits=4)
    assert policy.resolve(("joint",)) == Float32()


def test_a_layer_without_a_rule_is_an_error_that_names_it():
    policy = PrecisionPolicy("partial", (Rule("encoder/*", Float32()),))
    with pytest.raises(ValueError, match=r"'partial' has no rule for layer 'joint'.*'encoder/\*'"):
        policy.resolve(("joint",))


def test_unused_rules_are_reported():
    typo, rest = Rule("encodr/*", Float32()), Rule("*", Float32())
    policy = PrecisionPolicy("typo", (typo, rest))
    assert policy.unused_rules([("encoder", "lstm_0"), ("joint",)]) == (typo,)


def test_names_of_ready_made_policies():
    assert all(policy.name == name for name, policy in POLICIES.items())
    with pytest.raises(ValueError, match="unknown precision policy 'w9a9'; ready-made: float32"):
        policy_by_name("w9a9")


@pytest.mark.parametrize(
    ("field", "bits"),
    [("weight_bits", 1), ("weight_bits", 9), ("activation_bits", 1), ("activation_bits", 17)],
)
def test_impossible_widths_are_refused(field, bits):
    with pytest.raises(ValueError, match=f"{field}={bits}"):
        IntegerMatmul(**{field: bits})
