"""The LSTM layer and whole graphs on ``tosa_16x8`` against the TOSA specification's own model."""

import numpy as np
import pytest

from rnnt_qat.accelerators.tosa_16x8 import TOSA_16X8
from rnnt_qat.export.lstm_graphs import lstm_step_16x8
from rnnt_qat.verify.tosa import TosaReference
from tests.integration.test_lstm_equals_litert import check_lively, random_layer, step_ours

STREAMS = 2048


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "hidden", "input_scale", "kernel_scale"),
    [(40, 32, 2.0**-11, 0.003), (80, 128, 2.0**-12, 0.002), (64, 96, 2.0**-10, 0.006)],
)
def test_lstm_step(inputs, hidden, input_scale, kernel_scale):
    """Over 10^6 integers of random states in all cases; carried for three steps."""
    rng = np.random.default_rng(inputs)
    scales = {"input": input_scale, "kernel": kernel_scale}
    variables, layer = random_layer(TOSA_16X8, rng, inputs, hidden, scales)
    reference = TosaReference(lstm_step_16x8(layer, STREAMS))
    limits = np.int16(-(2**15)), np.int16(2**15 - 1)
    state = [rng.integers(*limits, (STREAMS, hidden), np.int16, endpoint=True) for _ in range(2)]
    for array in state:
        array[:4] = np.array([limits[0], limits[1], 0, -1])[:, None]
    for step in range(3):
        x = rng.integers(*limits, (STREAMS, inputs), np.int16, endpoint=True)
        ours = step_ours(TOSA_16X8, variables, x, *state)
        theirs = reference.run(x, *state)
        for name, a, b in zip(("hidden", "cell"), ours, theirs, strict=True):
            assert (a != b).sum() == 0, f"{name} at step {step}"
        state = list(ours)
    check_lively(ours[1])
