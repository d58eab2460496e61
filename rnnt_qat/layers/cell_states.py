"""States of recurrent layers with cells, recorded for the objectives that read them."""

import flax.linen as nn
import flax.struct

from rnnt_qat.quant.operators import OperatorSet
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.typing import Array, Bool, Float, Num

CELLS = "cells"
"""Name of the variable collection of ``CellStates``, one per layer; filled if it is mutable."""


@flax.struct.dataclass
class CellStates:
    """Real states of one layer.

    Attributes:
      cell: cell state after every frame.
      mask: True where the frame is valid.
      hidden: hidden state after every frame.
    """

    cell: Float[Array, "B T H"]
    mask: Bool[Array, "B T"]
    hidden: Float[Array, "B T H"]


def note_cells(
    layer: nn.Module,
    ops: OperatorSet,
    hiddens: Num[Array, "T B H"],
    cells: Num[Array, "T B H"],
    mask: Bool[Array, "B T"],
) -> None:
    """Records a layer's states if the caller of the model made the collection mutable.

    Args:
      layer: bound layer.
      ops: its operators; states are stored at the sites ``hidden`` and ``cell``.
      hiddens: hidden state after every frame, as the chip holds it.
      cells: cell state after every frame, as the chip holds it.
      mask: True where the frame is valid.
    """
    # Initialization makes every collection mutable, but cell states are not variables of the model.
    if layer.is_mutable_collection(CELLS) and not layer.is_initializing():
        hidden, cell = (
            dequantize(ops.load(site, values.swapaxes(0, 1)))
            for site, values in (("hidden", hiddens), ("cell", cells))
        )
        layer.put_variable(CELLS, "states", CellStates(cell, mask, hidden))
