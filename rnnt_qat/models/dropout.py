"""Dropout between layers, for the stages that train in floating point."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.qtensor import QTensor
from rnnt_qat.typing import PRNGKey


def dropout(
    module: nn.Module, x: Value, rate: float, row_keys: PRNGKey | None, place: int
) -> Value:
    """Inverted dropout (Srivastava et al., 2014), each row with a key of its own.

    What a row loses then depends on neither the rest of its batch nor the devices it is cut over.
    A value on a chip's grid cannot be rescaled in place, so a quantized layer's output is refused:
    the chip has no dropout either.

    Args:
      module: whose output it is, for the message.
      x: leads with B.
      rate: share that is dropped.
      row_keys: B keys; None drops nothing.
      place: tells the dropouts of a network apart.
    """
    if row_keys is None or rate == 0.0:
        return x
    if isinstance(x, QTensor):
        raise ValueError(
            f"dropout_rate={rate} on a quantized value of {'/'.join(module.path) or 'the model'}: "
            "set dropout to 0 for the accelerator-aware stage"
        )
    keys = fold_in_rows(row_keys, place)
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1.0 - rate), 0.0)


def fold_in_rows(row_keys: PRNGKey, number: int) -> PRNGKey:
    """``jax.random.fold_in`` of each row's key."""
    return jax.vmap(jax.random.fold_in, (0, None))(row_keys, number)
