"""The mean operand of each kernel, recorded while a policy calibrates."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.quant.operators import FloatOperators, Value
from rnnt_qat.typing import Array, Bool, Float


@flax.struct.dataclass
class OperandSum:
    """Sum of the vectors that a kernel was multiplied by.

    Attributes:
      total: sum over the valid positions.
      count: number of valid positions.
    """

    total: Float[Array, "K"]
    count: Float[Array, ""]

    @classmethod
    def of(cls, x: Float[Array, "*P K"], mask: Bool[Array, "*Q"] | None) -> "OperandSum":
        """Returns the sum over the positions of one product.

        Args:
          x: left operand.
          mask: True where a leading position is valid; None if all are.
        """
        positions = x.shape[:-1]
        mask = jnp.ones((), bool) if mask is None else mask
        mask = mask.reshape(mask.shape + (1,) * (len(positions) - mask.ndim))
        valid = jnp.broadcast_to(mask, positions)[..., None]
        axes = tuple(range(len(positions)))
        # Select before summing: padding may be NaN.
        total = jnp.where(valid, x, 0).astype(jnp.float32).sum(axes)
        return cls(total, valid.sum(dtype=jnp.float32))

    def __add__(self, other: "OperandSum") -> "OperandSum":
        """Returns the sum over the positions of both."""
        return jax.tree.map(jnp.add, self, other)

    def mean(self) -> Float[Array, "K"]:
        """Returns the mean; zeros if there was no valid position."""
        return self.total / jnp.maximum(self.count, 1.0)


@flax.struct.dataclass
class OperandRecorder(FloatOperators):
    """Floating-point operators that record the operand of each kernel; not for use in a scan.

    Attributes:
      note: called with the site of a kernel and the sum of the operands of one product.
      mask: True where a leading position is valid; None if all are.
      kernels: kernels with their sites, shared by the copies with other masks.
    """

    note: Callable[[str, OperandSum], Any] = flax.struct.field(pytree_node=False)
    mask: Bool[Array, "*P"] | None = None
    kernels: list[tuple[str, Array]] = flax.struct.field(pytree_node=False, default_factory=list)

    @property
    def plain(self) -> FloatOperators:
        """The operators without recording."""
        return FloatOperators()

    def weight(
        self,
        site: str,
        w: Float[Array, "K M"],
        x: Value | None = None,
        bias: Float[Array, "M"] | None = None,
    ) -> Array:
        """Returns the kernel unchanged, and keeps its site for ``accumulate``."""
        self.kernels.append((site, w))
        return w

    def accumulate(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        """Multiplies matrices, and records the left operand of a kernel.

        Raises:
          ValueError: ``w`` did not come from ``weight``.
        """
        site = next((site for site, kernel in self.kernels if kernel is w), None)
        if site is None:
            raise ValueError("accumulate takes the kernel that weight returned, as it is")
        self.note(site, OperandSum.of(x, self.mask))
        return super().accumulate(x, w, bias)
