"""Dropout between layers in training, in floating point and on a chip's grids."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from rnnt_qat.infra.random_keys import descend
from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.qtensor import QTensor
from rnnt_qat.quant.straight_through import quantize_straight_through
from rnnt_qat.typing import PRNGKey


def dropout(x: Value, rate: float, row_keys: PRNGKey | None) -> Value:
    """Applies inverted dropout (Srivastava et al., 2014), with one random key per row.

    The mask of a row therefore depends neither on the rest of its batch nor on the devices. A value
    on a chip's grid is rescaled, rounded to the grid and saturated, so that the next layer still
    reads integers of the format for which it was calibrated.

    Args:
      x: value with leading axis B.
      rate: probability of dropping an element.
      row_keys: B keys of this place (``place_keys``); None disables dropout.
    """
    if row_keys is None or rate == 0.0:
        return x
    shape = (x.values if isinstance(x, QTensor) else x).shape
    # Drawn as vectors: XLA compiles the hash over several small axes into far longer kernels.
    count = math.prod(shape[1:])
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, (count,)))(row_keys)
    keep = keep.reshape(shape)
    if not isinstance(x, QTensor):
        return jnp.where(keep, x / (1.0 - rate), 0.0)
    if x.format is None:  # an operand of integer products only: its scale is not fixed
        values = jnp.where(keep, x.values, 0.0)
        return dataclasses.replace(x, values=values, scale=x.scale / (1.0 - rate))
    bounds = x.format.minimum, x.format.maximum
    rescaled = quantize_straight_through(x.values, 1.0 - rate, *bounds)
    return dataclasses.replace(x, values=jnp.where(keep, rescaled, 0.0), integers=None)


def place_keys(row_keys: PRNGKey | None, places: int) -> Sequence[PRNGKey | None]:
    """Derives the keys of several places from the keys of the rows.

    Args:
      row_keys: B keys; None disables dropout.
      places: number of networks, or of the dropouts of one network.

    Returns:
      B keys for each place: those of ``jax.random.fold_in`` of its index.
    """
    if row_keys is None:
        return [None] * places
    return list(descend(row_keys, jnp.arange(places)[:, None]))
