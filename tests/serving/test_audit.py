import jax
import pytest

from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig, StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.quant.audit import AuditError, require_on_chip
from rnnt_qat.quant.nna_operators import NnaOperators
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.serving.audit import audit

LSTM = RNNTConfig(
    vocabulary=7,
    encoder=EncoderConfig(num_layers=1, hidden_size=4, layers_before_reduction=0),
    prediction=LSTMPredictionConfig(embedding_size=3, hidden_size=4),
    joint_size=5,
)
STATELESS = RNNTConfig(
    vocabulary=7,
    encoder=EncoderConfig(num_layers=1, hidden_size=4, layers_before_reduction=0),
    prediction=StatelessPredictionConfig(embedding_size=3),
    joint_size=5,
)
FEATURES = 6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generic_nna", "ethos_u_8x8_16", "ethos_u_16x8"])
def test_a_chip_computes_all_of_a_recognizer(name):
    assert audit(LSTM, policy_by_name(name), FEATURES) == ()


def test_labels_are_bookkeeping():
    assert audit(STATELESS, policy_by_name("generic_nna"), FEATURES) == ()


def test_a_float_sigmoid_in_the_cell_is_named_by_its_module_path(monkeypatch):
    def slipped(self, x, out):
        return self.store(out, jax.nn.sigmoid(dequantize(x)))

    monkeypatch.setattr(NnaOperators, "sigmoid", slipped)
    found = audit(LSTM, policy_by_name("generic_nna"), FEATURES)
    assert {operator.layer for operator in found} == {"encoder/lstm_0", "prediction/lstm_0"}
    assert "logistic" in {operator.primitive for operator in found}
    with pytest.raises(AuditError, match="encoder/lstm_0: float32 logistic"):
        require_on_chip(found)


def test_integers_outside_of_the_chips_operators_are_named(monkeypatch):
    plain = NnaOperators.values
    monkeypatch.setattr(NnaOperators, "values", lambda self, x: plain(self, x) * 2)
    found = audit(STATELESS, policy_by_name("generic_nna"), FEATURES)
    assert ("joint", "mul", "int16") in {(f.layer, f.primitive, f.dtype) for f in found}


def test_what_the_policy_leaves_to_the_cpu_is_listed_and_no_offence():
    found = audit(LSTM, policy_by_name("w8a8"), FEATURES)
    require_on_chip(found)
    listed = {(operator.layer, operator.primitive) for operator in found}
    assert ("encoder/lstm_0", "logistic") in listed
    assert ("joint", "tanh") in listed
    assert not any(primitive == "dot_general" for _, primitive in listed)


def test_layers_by_their_own_precision():
    chip = policy_by_name("generic_nna").rules[0].precision
    rules = (Rule("encoder/*", chip), Rule("*", Float32()))
    found = audit(LSTM, PrecisionPolicy("encoder", rules), FEATURES)
    require_on_chip(found)
    assert {operator.layer.partition("/")[0] for operator in found} == {"prediction", "joint"}
    joint = PrecisionPolicy("joint", (Rule("joint", chip), Rule("*", Float32())))
    found = audit(LSTM, joint, FEATURES)
    require_on_chip(found)
    assert {f.operator for f in found if f.layer == "joint"} == {"quantize"}
