"""The record of operator calls of a recognizer's serving programs."""

import functools

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.recorded import Record, recorded
from rnnt_qat.typing import BLANK_ID, Array, Float, PyTree


def serve_once(model: RNNT, features: Float[Array, "B T F"]) -> None:
    """Runs each serving program once: an encoder chunk, a prediction step and a joint step.

    Args:
      model: bound model.
      features: one chunk.
    """
    batch = features.shape[0]
    encoded, _, _ = model.encode(features, jnp.ones(features.shape[:2], bool))
    labels = jnp.full((batch, 1), BLANK_ID, jnp.int32)
    predicted, _ = model.predict(labels, jnp.ones((batch, 1), bool))
    model.head().logits(encoded[:, 0], predicted[:, 0])


@functools.lru_cache(maxsize=8)
def serving_record(config: RNNTConfig) -> Record:
    """Records the layers and calls of the serving programs, without parameters.

    The record does not depend on the width of the features.
    """
    with recorded() as record:
        _shapes(config)
    return record


def feature_size(config: RNNTConfig, params: PyTree) -> int:
    """Returns the width of the features that a model's parameters are made for."""
    shapes = flatten_dict(params)
    for path, leaf in flatten_dict(_shapes(config)).items():
        if leaf.shape != shapes[path].shape:  # the kernel that reads the features
            return shapes[path].shape[0] // leaf.shape[0]
    return 1


def _shapes(config: RNNTConfig) -> PyTree:
    """Returns the shapes of the model's parameters for features of width 1."""
    init = functools.partial(RNNT(config, FLOAT32).init, method=serve_once)
    chunk = jax.ShapeDtypeStruct((1, config.encoder.time_reduction, 1), jnp.float32)
    return jax.eval_shape(init, jax.random.key(0), chunk)["params"]
