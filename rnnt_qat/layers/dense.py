"""Dense layer."""

import flax.linen as nn

from rnnt_qat.quant.diagnostics import recording
from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.quant.sites import Role
from rnnt_qat.typing import Array, Bool

DENSE_SITES = {"input": Role.INPUT, "kernel": Role.WEIGHT}


class Dense(QuantizedModule):
    """Computes ``x W + b`` and returns the accumulator; the reading layer chooses the format.

    Attributes:
      features: output width M.
    """

    features: int

    @nn.compact
    def __call__(self, x: Value, mask: Bool[Array, "B T"] | None = None) -> Value:
        """Applies the layer.

        Args:
          x: input ``[..., K]``.
          mask: True at the positions that calibration observes; None for all.

        Returns:
          The accumulator ``[..., M]``.
        """
        ops = recording(self.operators(DENSE_SITES), mask)
        x = ops.input("input", x)
        width = ops.values(x).shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (width, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        self.observe(DENSE_SITES, mask, input=x)
        return ops.accumulate(x, ops.weight("kernel", kernel, x, bias), bias)
