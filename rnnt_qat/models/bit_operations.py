"""Bit operations of training a recognizer under a policy."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.quant.bit_operations import MacCounts, count_products
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.typing import Array


def training_products(
    config: RNNTConfig,
    policy: PrecisionPolicy,
    feature_size: int,
    rows: int,
    frames: int,
    labels: int,
) -> MacCounts:
    """Counts the products of a forward pass over one batch, joint of the whole lattice included.

    Products of the heads that only training has (CTC, simple joiner) are not counted.

    Args:
      config: sizes of the model.
      policy: precision of every layer.
      feature_size: width of a frame.
      rows: rows of the batch.
      frames: frames of each row.
      labels: labels of each row.
    """
    batch = (
        jax.ShapeDtypeStruct((rows, frames, feature_size), jnp.float32),
        jax.ShapeDtypeStruct((rows,), jnp.int32),
        jax.ShapeDtypeStruct((rows, labels), jnp.int32),
        jax.ShapeDtypeStruct((rows,), jnp.int32),
    )
    calibrating = functools.partial(RNNT(config, policy.calibration()).init, jax.random.key(0))
    variables = jax.eval_shape(calibrating, *batch)
    variables = {name: variables.get(name, {}) for name in ("params", QUANT_STATS)}

    def program(variables, *batch) -> Array:
        lattice: Any = RNNT(config, policy).apply(variables, *batch)
        encoded, predicted = lattice.encoded[:, :, None], lattice.predicted[:, None]
        return lattice.head.logits(encoded, predicted)

    counts = count_products(program, variables, *batch)
    return type(counts)({product: n for product, n in counts.items() if product.layer})
