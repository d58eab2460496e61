"""Dropout between layers, for the stages that train in floating point."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.qtensor import QTensor


def dropout(module: nn.Module, x: Value, rate: float, deterministic: bool) -> Value:
    """Inverted dropout (Srivastava et al., 2014) with the module's ``dropout`` rng.

    A value on a chip's grid cannot be rescaled in place, so a quantized layer's output is refused:
    the chip has no dropout either.
    """
    if deterministic or rate == 0.0:
        return x
    if isinstance(x, QTensor):
        raise ValueError(
            f"dropout_rate={rate} on a quantized value of {'/'.join(module.path) or 'the model'}: "
            "set dropout to 0 for the accelerator-aware stage"
        )
    keep = jax.random.bernoulli(module.make_rng("dropout"), 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0.0)
