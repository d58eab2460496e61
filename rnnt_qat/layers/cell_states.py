"""Cell states of recurrent layers, noted for the objectives that read them."""

import flax.linen as nn
import flax.struct

from rnnt_qat.quant.operators import OperatorSet
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.typing import Array, Bool, Float, Num

CELLS = "cells"
"""Collection of ``CellStates``, one a layer; filled where it is mutable."""


@flax.struct.dataclass
class CellStates:
    """Real cell states after every frame, and which frames are valid."""

    cell: Float[Array, "B T H"]
    mask: Bool[Array, "B T"]


def note_cells(
    layer: nn.Module, ops: OperatorSet, cells: Num[Array, "T B H"], mask: Bool[Array, "B T"]
) -> None:
    """Notes a layer's cell states if the caller of the model asked for them.

    Args:
      layer: bound.
      ops: its operators; cells are at the site ``cell``.
      cells: after every frame, as the chip holds them.
      mask: True where the frame is valid.
    """
    # Initialisation makes every collection, and these are no variables of the model.
    if layer.is_mutable_collection(CELLS) and not layer.is_initializing():
        cell = dequantize(ops.load("cell", cells.swapaxes(0, 1)))
        layer.put_variable(CELLS, "states", CellStates(cell, mask))
