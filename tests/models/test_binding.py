from dataclasses import replace

import jax
import pytest
from flax.traverse_util import flatten_dict

from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.models.binding import layer_sites, require_every_rule_used
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policies import FLOAT32, POLICIES, policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32
from rnnt_qat.quant.sites import Role
from tests.serving.test_audit import FEATURES, LSTM, STATELESS


def test_every_layer_with_a_kernel_is_there():
    inputs = example_inputs(LSTM, FEATURES)
    params = jax.eval_shape(RNNT(LSTM, FLOAT32).init, jax.random.key(0), *inputs)["params"]
    no_layers = {("ctc",), ("prediction",)}  # a head for training alone; the embedding
    assert set(layer_sites(LSTM)) == {path[:-1] for path in flatten_dict(params)} - no_layers


@pytest.mark.parametrize("config", [LSTM, STATELESS], ids=["lstm", "stateless"])
def test_ready_made_policies_suit_every_model(config):
    for policy in POLICIES.values():
        require_every_rule_used(config, policy)


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("w8a8[encodr/*:weights=4]", "encodr"),
        ("w8a8[encoder/lstm_9:weights=4, joint:weights=4]", "encoder/lstm_9"),
        ("w8a8[encoder/*:weights=4, encoder/lstm_0:weights=2]", "encoder/lstm_0"),
    ],
)
def test_a_rule_without_a_layer_is_refused_naming_the_layers(line, pattern):
    with pytest.raises(ValueError, match=rf"no layer matches '{pattern}.*are encoder/lstm_0, "):
        require_every_rule_used(LSTM, policy_by_name(line))


def test_the_remainder_may_be_nothing():
    line = "generic_nna[encoder/*:weights=4, prediction/*:weights=4, joint:weights=2]"
    require_every_rule_used(LSTM, policy_by_name(line))


def test_a_chip_is_checked_against_the_sites_of_the_model():
    tensors = tuple(t for t in GENERIC_NNA.tensors if t.role not in (Role.CELL, Role.PROJECTED))
    chip = OnAccelerator(replace(GENERIC_NNA, tensors=tensors))
    policy = PrecisionPolicy("no_cell", (Rule("encoder/lstm_*", Float32()), Rule("*", chip)))
    inputs = example_inputs(STATELESS, FEATURES)
    jax.eval_shape(RNNT(STATELESS, policy).init, jax.random.key(0), *inputs)
    for bound in (policy, policy.calibration(), policy.for_serving()):
        with pytest.raises(ValueError, match="layer prediction/lstm_0 has a tensor 'cell' of role"):
            jax.eval_shape(RNNT(LSTM, bound).init, jax.random.key(0), *inputs)
