import pytest

from rnnt_qat.quant.policies import POLICIES, policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32
from rnnt_qat.serving.formats import tensor_rows, text_table
from tests.serving.test_audit import LSTM


def rows(name):
    found = tensor_rows(LSTM, policy_by_name(name))
    return {(row.layer, row.tensor): row for row in found}


def test_a_chips_formats():
    table = rows("ethos_u_8x8_16_w4")
    kernel = table["encoder/lstm_0", "recurrent_kernel"]
    assert (kernel.numbers, kernel.operators) == ("int4 in int8", "")
    cell = table["encoder/lstm_0", "cell"]
    assert (cell.numbers, cell.scale, cell.operators) == ("int16", "Q4.11, fixed", "NPU: mul, add")
    assert table["joint", "logits"].scale == "calibrated, power of two"
    trained = rows("ethos_u_8x8_16_w4+lsq")
    assert trained["joint", "logits"].scale == "trained, power of two"
    assert trained["joint", "kernel"].scale == "trained, 24 significant bits"


def test_what_stays_on_the_cpu():
    table = rows("w8a8")
    gate = table["encoder/lstm_0", "gate"]
    assert (gate.numbers, gate.operators) == ("float32", "CPU: sigmoid, tanh")
    assert table["encoder/lstm_0", "gate_pre"].operators == "NPU: dot; CPU: add"
    assert table["encoder/lstm_0", "input"].numbers == "int8"
    assert rows("w8a16")["encoder/lstm_0", "input"].numbers == "int16"


def test_layers_by_their_own_rules():
    table = rows("encoder_w4_joint_w8")
    assert table["encoder/projection", "kernel"].numbers == "int4"
    assert table["joint", "kernel"].numbers == "int8"


@pytest.mark.parametrize("name", POLICIES)
def test_table_of_every_policy(name):
    lines = text_table(tensor_rows(LSTM, policy_by_name(name))).splitlines()
    assert lines[0].split() == ["layer", "tensor", "role", "numbers", "scale", "operators"]
    assert len({len(line.split("  ")[0]) for line in lines}) > 1


def test_a_rule_that_matches_nothing_is_refused():
    policy = PrecisionPolicy("typo", (Rule("encodr/*", Float32()), Rule("*", Float32())))
    with pytest.raises(ValueError, match=r"'typo': no layer matches 'encodr/\*'; the layers are "):
        tensor_rows(LSTM, policy)
