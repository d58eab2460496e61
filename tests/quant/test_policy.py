import jax
import jax.numpy as jnp
import pytest

from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.layers.dense import Dense
from rnnt_qat.quant.learned_ranges import LearnedStep, TrainedThreshold
from rnnt_qat.quant.nna_operators import Slope
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.observers import MseObserver, PercentileObserver
from rnnt_qat.quant.policies import POLICIES, policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32, IntegerMatmul
from rnnt_qat.quant.quantized_module import QUANT_STATS, calibrated_ranges, check_calibrated


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


def test_observers_by_name():
    policy = policy_by_name("w8a8@joint+percentile")
    assert (policy.name, policy.observer) == ("w8a8@joint+percentile", PercentileObserver())
    with pytest.raises(ValueError, match=r"w8a8\+median: there is no \+median; there are \+moving"):
        policy_by_name("w8a8+median")


def test_changes_follow_each_other():
    policy = policy_by_name("ethos_u_16x8_w4@encoder+mse+unit_slope+lsq")
    assert policy.name == "ethos_u_16x8_w4@encoder+mse+unit_slope+lsq"
    assert (policy.observer, policy.learned) == (MseObserver(), LearnedStep())
    spec = ETHOS_U_16X8.with_weight_bits(4)
    encoder = OnAccelerator(spec, slope=Slope.UNIT, trained_ranges=True)
    assert [rule.precision for rule in policy.rules] == [encoder, Float32()]
    assert policy_by_name("generic_nna+tqt").learned == TrainedThreshold()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ethos_u_8x8_16+tqt", r"the scale of WEIGHT on ethos_u_8x8_16 is none; lsq trains any"),
        ("w8a8+lsq", r"\+lsq: it is for layers on a chip, and w8a8 has others"),
        ("float32+unit_slope", r"\+unit_slope: it is for layers on a chip, and float32 has others"),
        ("generic_nna@weights+tqt", r"generic_nna@weights has others"),
        ("generic_nna+tqt+lsq", r"\+tqt and \+lsq exclude each other"),
        ("w8a8+mse+mse", r"\+mse and \+mse exclude each other"),
    ],
)
def test_changes_that_do_not_suit_are_refused(name, reason):
    with pytest.raises(ValueError, match=reason):
        policy_by_name(name)


@pytest.mark.parametrize("name", ["w8a8", "w8a8+moving_average", "w8a8+percentile", "w8a8+mse"])
def test_each_observer_calibrates_a_layer(name):
    policy = policy_by_name(name)
    xs = jax.random.normal(jax.random.key(0), (4, 1000, 16)).at[0, 0, 0].set(1000.0)
    mask = jnp.ones((4, 1000), bool).at[1].set(False)
    layer = Dense(policy.calibration(), 3)
    variables = layer.init(jax.random.key(1), xs, mask)
    _, ranges = layer.apply(variables, xs, mask, mutable=[QUANT_STATS])
    ranges = calibrated_ranges(ranges[QUANT_STATS])
    check_calibrated(ranges)
    assert set(ranges) == {"input"}
    assert (float(ranges["input"]) < 10) == (name == "w8a8+percentile")
    Dense(policy, 3).apply({**variables, QUANT_STATS: ranges}, xs, mask)


@pytest.mark.parametrize(
    ("field", "bits"),
    [("weight_bits", 1), ("weight_bits", 9), ("activation_bits", 1), ("activation_bits", 17)],
)
def test_impossible_widths_are_refused(field, bits):
    with pytest.raises(ValueError, match=f"{field}={bits}"):
        IntegerMatmul(**{field: bits})
