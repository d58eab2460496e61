"""Formats of integers that stand for real numbers."""

from dataclasses import dataclass

import jax.numpy as jnp

from rnnt_qat.fixedpoint.division import divide
from rnnt_qat.fixedpoint.rounding import Rounding, round_real
from rnnt_qat.fixedpoint.saturation import int_range
from rnnt_qat.typing import Array, Float, Int


@dataclass(frozen=True)
class QFormat:
    """Two's complement integers, ``real = integer * scale``, zero point 0.

    Attributes:
      bits: width with the sign, 2 to 32.
      frac_bits: the scale is ``2^-frac_bits``; None where the scale comes from calibration.
      narrow: leave out the smallest integer, so that the range is symmetric (weights).
    """

    bits: int
    frac_bits: int | None = None
    narrow: bool = False

    def __post_init__(self):
        if not 2 <= self.bits <= 32:
            raise ValueError(f"QFormat.bits={self.bits}: an integer here has 2 to 32 bits")

    @property
    def minimum(self) -> int:
        """Smallest integer."""
        return int_range(self.bits, self.narrow)[0]

    @property
    def maximum(self) -> int:
        """Largest integer."""
        return int_range(self.bits, self.narrow)[1]

    @property
    def integer_bits(self) -> int:
        """Bits left of the point, without the sign: the range is +-2^integer_bits."""
        return self.bits - 1 - self.fixed_frac_bits

    @property
    def fixed_frac_bits(self) -> int:
        """``frac_bits`` where they are fixed.

        Raises:
          ValueError: the scale is calibrated.
        """
        if self.frac_bits is None:
            raise ValueError(f"{self} has no fixed scale: it comes from calibration")
        return self.frac_bits

    @property
    def scale(self) -> float:
        """Real value of one step where it is fixed; else a ValueError."""
        return 2.0**-self.fixed_frac_bits

    @property
    def storage(self) -> jnp.dtype:
        """Narrowest integer dtype of an array in this format."""
        return jnp.dtype(f"int{8 if self.bits <= 8 else 16 if self.bits <= 16 else 32}")

    def __str__(self) -> str:
        """Q3.12, or int8 where the scale is calibrated."""
        if self.frac_bits is None:
            return f"int{self.bits}"
        return f"Q{self.integer_bits}.{self.frac_bits}"


Q0_15 = QFormat(16, 15)
"""[-1, 1) in 16 bits: gates."""
Q0_7 = QFormat(8, 7)
"""[-1, 1) in 8 bits."""


def quantize(
    x: Float[Array, "*S"],
    scale: Float[Array, "..."] | float,
    format: QFormat,
    rounding: Rounding = Rounding.AWAY,
) -> Int[Array, "*S"]:
    """Nearest integer of the format, saturated; NaN becomes 0."""
    rounded = round_real(divide(x, scale), rounding)
    # Clipped before the cast: a float beyond int32 has no defined integer.
    bound = jnp.clip(rounded, -(2.0**31), 2.0**31 - 128)
    integers = jnp.where(jnp.isnan(x), 0, bound).astype(jnp.int32)
    return jnp.clip(integers, format.minimum, format.maximum)


def dequantize(q: Int[Array, "*S"], scale: Float[Array, "..."] | float) -> Float[Array, "*S"]:
    """``q * scale`` in float32."""
    return q.astype(jnp.float32) * scale
