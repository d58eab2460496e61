"""Embedding layer."""

import flax.linen as nn

from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.typing import Array, Int


class Embedding(QuantizedModule):
    """Rows of a table, in no format of their own: the layer that takes them stores them in its.

    Its parameter ``embedding`` is the parent's own where ``nn.share_scope`` says so.

    Attributes:
      vocabulary: rows V.
      features: width E of a row.
    """

    vocabulary: int
    features: int

    def setup(self):
        """The table."""
        self.table = self.param(
            "embedding", nn.initializers.normal(1.0), (self.vocabulary, self.features)
        )

    def __call__(self, labels: Int[Array, "*S"]) -> Value:
        """``[...] -> [..., E]``."""
        return self.operators({}).lookup(self.table, labels)
