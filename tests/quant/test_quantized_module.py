"""Ranges of constants that are known before any batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.models.prediction import LSTMPredictionConfig, StatelessPredictionConfig
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS


@pytest.mark.parametrize(
    ("config", "reader"),
    [
        (LSTMPredictionConfig(embedding_size=3, hidden_size=4), "lstm_0"),
        (StatelessPredictionConfig(embedding_size=3), "projection"),
    ],
)
@pytest.mark.parametrize("observer", ["", "+percentile", "+moving_average"])
def test_rows_of_labels_that_calibration_never_hears_are_not_clipped(config, reader, observer):
    policy = policy_by_name(f"ethos_u_8x8_16{observer}").calibration()
    network = config.make(policy, 6, 5)
    labels, mask = jnp.asarray([[0, 1, 2]]), jnp.ones((1, 3), bool)
    params = network.init(jax.random.key(0), labels, mask)["params"]
    params["embedding"] = params["embedding"].at[5].set(jnp.asarray([9.0, -40.0, 0.0]))
    variables = {"params": params}
    for _ in range(2):
        _, ranges = jax.jit(lambda v: network.apply(v, labels, mask, mutable=[QUANT_STATS]))(
            variables
        )
        variables = {**variables, **ranges}
    assert float(ranges[QUANT_STATS][reader]["input"]) == np.abs(params["embedding"]).max() == 40.0
