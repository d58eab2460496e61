"""Weights that training pruned are zeros in the exported integers."""

import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.export.freeze import freeze
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.training.pruning import MagnitudePruning
from tests.experiment.tiny import recognizer


@pytest.mark.slow
@pytest.mark.parametrize("line", ["ethos_u_8x8_16", "ethos_u_8x8_16_w4"])
@pytest.mark.parametrize("unit", ["weight", "column"])
def test_pruned_weights_are_zero_in_the_artefact(line, unit):
    tiny = recognizer()
    hook = MagnitudePruning(final_sparsity=0.75, ramp_steps=0, unit=unit, pattern="*kernel")
    dense = tiny.variables["params"]
    params, masks = hook.post_update(dense, hook.init(dense), jnp.int32(0))
    model = tiny.model.clone(policy=policy_by_name(line))
    integers = freeze(model, {**tiny.variables, "params": params})
    lstm = integers.encoder.layers[0]
    for kernel, stored in (
        ("encoder/lstm_0/input_kernel", lstm.w_ih),  # [gates, units, inputs]
        ("encoder/lstm_0/recurrent_kernel", lstm.w_hh),
        ("encoder/projection/kernel", integers.encoder.projection.weights[None]),
        ("joint/kernel", integers.joint.output.weights[None]),
    ):
        kept = np.asarray(masks[kernel])
        as_stored = kept.T.reshape(stored.shape)
        assert 0.2 < kept.mean() < 0.35, kernel
        assert not np.any(stored[~as_stored]), kernel
        assert np.any(stored[as_stored]), kernel
