import numpy as np
import pytest

from rnnt_qat.latency.chip_compilation import compile_recognizer
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.latency.layer_costs import LayerCost, layer_costs, ms_per_second, weight_bytes
from rnnt_qat.latency.targets import U55_128
from tests.experiment import tiny


def test_calls_are_those_of_the_layer_s_network():
    costs = {
        "encoder/lstm_0": LayerCost(1.0, 10),
        "prediction/lstm_0": LayerCost(100.0, 20),
        "joint": LayerCost(10_000.0, 30),
    }
    counts = DecodeCounts(
        np.array([1.0, 3.0]), np.array([4, 8]), np.array([2, 6]), np.array([3, 5])
    )
    assert ms_per_second(costs, counts) == (12 * 1 + 8 * 100 + 8 * 10_000) / 4
    assert weight_bytes(costs) == 60


@pytest.mark.slow
def test_every_layer_is_compiled_and_their_sum_is_near_the_whole():
    model = tiny.artefact().model
    costs = layer_costs(model, 2, U55_128)
    assert set(costs) == {
        "encoder/lstm_0",
        "encoder/projection",
        "prediction/lstm_0",
        "prediction/projection",
        "joint",
    }
    (whole,) = compile_recognizer(model, (2,), U55_128)
    assert weight_bytes(costs) == pytest.approx(whole.stored_weight_bytes, rel=0.25)
    sums = [
        sum(c.call_ms for path, c in costs.items() if path.startswith(network))
        for network in ("encoder", "prediction", "joint")
    ]
    times = whole.times()
    assert sums[0] == pytest.approx(times.encoder_chunk_ms, rel=0.5)
    assert sums[1] == pytest.approx(times.prediction_step_ms, rel=0.5)
    assert sums[2] < times.joint_step_ms  # its sum, tanh and argmax are in no layer
