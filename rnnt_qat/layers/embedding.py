"""Embedding layer."""

import flax.linen as nn

from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.typing import Array, Int


class Embedding(QuantizedModule):
    """Looks up rows of a table; the reading layer stores them in its own input format.

    ``nn.share_scope`` can place its parameter ``embedding`` in the parent's scope.

    Attributes:
      vocabulary: number of rows V.
      features: width E of a row.
    """

    vocabulary: int
    features: int

    def setup(self):
        """Creates the table."""
        self.table = self.param(
            "embedding", nn.initializers.normal(1.0), (self.vocabulary, self.features)
        )

    def __call__(self, labels: Int[Array, "*S"]) -> Value:
        """Maps labels ``[...]`` to rows ``[..., E]``."""
        return self.operators({}).lookup(self.table, labels)
