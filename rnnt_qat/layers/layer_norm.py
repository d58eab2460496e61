"""Layer normalization."""

import flax.linen as nn
import jax.numpy as jnp

from rnnt_qat.quant.diagnostics import recording
from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.qtensor import map_values
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.quant.sites import Role
from rnnt_qat.typing import Array, Bool

LAYER_NORM_SITES = {"input": Role.INPUT, "normalized": Role.NORMALIZED}


class LayerNorm(QuantizedModule):
    """Normalizes every frame to mean 0 and variance 1; a ``StreamingLayer`` without state.

    It has no gain and no bias, because the following product applies a kernel and a bias anyway. A
    chip therefore stores no parameter for it.

    Reference: Xu et al., "Understanding and Improving Layer Normalization" (2019), section 3.1.
    """

    @property
    def block_size(self) -> int:
        """1: a chunk may have any number of frames."""
        return 1

    def initial_state(self, batch_size: int) -> tuple[()]:
        """Returns an empty state."""
        return ()

    @nn.compact
    def __call__(
        self, xs: Value, mask: Bool[Array, "B T"], state: tuple[()] | None = None
    ) -> tuple[Value, Bool[Array, "B T"], tuple[()]]:
        """Normalizes over the last axis.

        Args:
          xs: frames ``[B, T, D]``.
          mask: True at valid frames. Invalid frames become zeros.
          state: empty.

        Returns:
          Frames ``[B, T, D]``, their mask and an empty state.
        """
        ops = recording(self.operators(LAYER_NORM_SITES), mask)
        xs = ops.input("input", map_values(lambda v: jnp.where(mask[..., None], v, 0), xs))
        ys = ops.layer_norm(xs, "normalized")
        self.observe(LAYER_NORM_SITES, mask, input=xs, normalized=ys)
        return ys, mask, ()
