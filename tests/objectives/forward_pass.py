"""A small model's forward passes, for tests of objectives."""

import jax
import jax.numpy as jnp

from rnnt_qat.batch import Batch
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.objectives.outputs import forward
from rnnt_qat.quant.policies import FLOAT32

CONFIG = RNNTConfig(
    vocabulary=7,
    encoder=EncoderConfig(num_layers=2, hidden_size=6, layers_before_reduction=1, time_reduction=2),
    prediction=LSTMPredictionConfig(embedding_size=4, hidden_size=5),
    joint_size=8,
    simple_joiner=True,
)
ROWS, FRAMES, LABELS, FEATURES = 3, 10, 4, 3


def batch():
    """Rows of different lengths; the padding is not a number."""
    keys = jax.random.split(jax.random.key(0), 2)
    lengths = jnp.array([10, 7, 4], jnp.int32)
    features = jax.random.normal(keys[0], (ROWS, FRAMES, FEATURES))
    valid = jnp.arange(FRAMES)[None, :, None] < lengths[:, None, None]
    return Batch(
        features=jnp.where(valid, features, jnp.nan),
        feature_lengths=lengths,
        labels=jax.random.randint(keys[1], (ROWS, LABELS), 1, CONFIG.vocabulary),
        label_lengths=jnp.array([4, 2, 1], jnp.int32),
        utterance_index=jnp.arange(ROWS, dtype=jnp.int32),
    )


def inputs(of):
    return of.features, of.feature_lengths, of.labels, of.label_lengths


def params(seed=0, config=CONFIG):
    return RNNT(config, FLOAT32).init(jax.random.key(seed), *inputs(batch()))["params"]


def outputs(params, config=CONFIG, policy=FLOAT32, **ranges):
    return forward(RNNT(config, policy), {"params": params, **ranges}, inputs(batch()))
