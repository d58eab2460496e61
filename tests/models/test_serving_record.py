import jax
import pytest

from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.models.serving_record import feature_size, serving_record
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.recorded import features_reader, table_readers
from tests.serving.test_audit import LSTM, STATELESS


@pytest.mark.parametrize("width", [1, 6])
@pytest.mark.parametrize("config", [LSTM, STATELESS], ids=["lstm", "stateless"])
def test_the_width_of_features_is_read_off_the_parameters(config, width):
    inputs = example_inputs(config, width)
    params = jax.eval_shape(RNNT(config, FLOAT32).init, jax.random.key(0), *inputs)["params"]
    assert feature_size(config, params) == width


@pytest.mark.parametrize(("config", "reader"), [(LSTM, "lstm_0"), (STATELESS, "projection")])
def test_who_takes_the_features_and_the_labels(config, reader):
    record = serving_record(config)
    assert features_reader(record).layer.path == ("encoder", "lstm_0")
    ((table, call),) = table_readers(record).items()
    assert table == ("prediction", "embedding")
    assert (call.layer.path, call.site) == (("prediction", reader), "input")
