"""Projections of recurrent states to the width of a teacher's, for training only."""

from collections.abc import Mapping

import flax.linen as nn

from rnnt_qat.typing import Array, Float


class StateProjection(nn.Module):
    """The kernels that project the states of one layer.

    Attributes:
      width: width H of the layer.
      teacher_width: width of the teacher's layer.
    """

    width: int
    teacher_width: int

    @nn.compact
    def __call__(self) -> Mapping[str, Float[Array, "H Ht"]]:
        """Returns the kernels of the hidden and the cell state."""
        shape = (self.width, self.teacher_width)
        lecun = nn.initializers.lecun_normal()
        return {name: self.param(name, lecun, shape) for name in ("hidden", "cell")}
