"""Bias correction of a whole recognizer, as a stage of calibration."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from rnnt_qat.infra.mesh import make_mesh, to_host
from rnnt_qat.quant.quantized_module import calibrated_ranges
from rnnt_qat.training.stages import Calibration
from rnnt_qat.training.state import TrainState
from tests.integration.test_learned_ranges import Batches, task


@pytest.fixture(scope="module")
def states():
    """The states before calibration, and after it without and with correction."""
    recognizer = task("ethos_u_8x8_16_w2")
    first = TrainState.create(recognizer.initial_params(jax.random.key(0)), {}, 0)
    found = [first]
    for correct in (False, True):
        stage = Calibration(batches=1, bias_correction=correct).bind(recognizer)
        update = stage.make_update(0, 1, make_mesh())
        state, _ = jax.jit(update)(stage.begin(first, ()), Batches().batch)
        assert (stage.finish is not None) == correct
        found.append(jax.jit(stage.finish)(state) if stage.finish else state)
    return [to_host(state) for state in found]


def test_nothing_changes_without_it(states):
    first, without, _ = states
    for name in ("params", "ema_params"):
        jax.tree.map(np.testing.assert_array_equal, getattr(without, name), getattr(first, name))
    assert without.quant_stats == calibrated_ranges(without.quant_stats)


def test_biases_change_and_nothing_else(states):
    _, without, corrected = states
    jax.tree.map(
        np.testing.assert_array_equal,
        calibrated_ranges(corrected.quant_stats),
        without.quant_stats,
    )
    for name in ("params", "ema_params"):
        before, after = (flatten_dict(getattr(s, name)) for s in (without, corrected))
        changed = {"/".join(k) for k in before if not np.array_equal(before[k], after[k])}
        assert changed == {  # not that of the joint
            "encoder/lstm_0/bias",
            "encoder/lstm_1/bias",
            "encoder/projection/bias",
            "prediction/lstm_0/bias",
            "prediction/projection/bias",
        }
