"""Fixed-point formats: integers that represent real numbers."""

from dataclasses import dataclass

import jax.numpy as jnp

from rnnt_qat.fixedpoint.division import divide
from rnnt_qat.fixedpoint.rounding import Rounding, round_real
from rnnt_qat.fixedpoint.saturation import int_range
from rnnt_qat.typing import Array, Float, Int


@dataclass(frozen=True)
class QFormat:
    """A format of two's complement integers with ``real = integer * scale`` and zero point 0.

    Attributes:
      bits: width including the sign, 2 to 32.
      frac_bits: fractional bits, for a scale of ``2^-frac_bits``; None if the scale is calibrated.
      narrow: whether the smallest integer is excluded, for a symmetric range (weights).
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
        """Bits left of the binary point, without the sign: the range is +-2^integer_bits."""
        return self.bits - 1 - self.fixed_frac_bits

    @property
    def fixed_frac_bits(self) -> int:
        """``frac_bits`` of a format with a fixed scale.

        Raises:
          ValueError: the scale is calibrated.
        """
        if self.frac_bits is None:
            raise ValueError(f"{self} has no fixed scale: it comes from calibration")
        return self.frac_bits

    @property
    def scale(self) -> float:
        """Real value of one step of a format with a fixed scale.

        Raises:
          ValueError: the scale is calibrated.
        """
        return 2.0**-self.fixed_frac_bits

    @property
    def storage(self) -> jnp.dtype:
        """Narrowest integer dtype that holds this format."""
        return jnp.dtype(f"int{8 if self.bits <= 8 else 16 if self.bits <= 16 else 32}")

    def __str__(self) -> str:
        """Returns e.g. ``Q3.12``, or ``int8`` if the scale is calibrated."""
        if self.frac_bits is None:
            return f"int{self.bits}"
        return f"Q{self.integer_bits}.{self.frac_bits}"


Q0_15 = QFormat(16, 15)
"""16 bits with range [-1, 1): the format of gates."""
Q0_7 = QFormat(8, 7)
"""8 bits with range [-1, 1)."""


def quantize(
    x: Float[Array, "*S"],
    scale: Float[Array, "..."] | float,
    qformat: QFormat,
    rounding: Rounding = Rounding.AWAY,
) -> Int[Array, "*S"]:
    """Rounds to the integers of a format, saturating; NaN becomes 0.

    Args:
      x: real values.
      scale: real value of one step; broadcasts with ``x``.
      qformat: range of the integers.
      rounding: rounding of ``x / scale``.

    Returns:
      int32.
    """
    rounded = round_real(divide(x, scale), rounding)
    # Clip before the cast: casting a float outside int32 is undefined. 2^31 - 128 is the largest
    # float32 below 2^31.
    bound = jnp.clip(rounded, -(2.0**31), 2.0**31 - 128)
    integers = jnp.where(jnp.isnan(x), 0, bound).astype(jnp.int32)
    return jnp.clip(integers, qformat.minimum, qformat.maximum)


def dequantize(q: Int[Array, "*S"], scale: Float[Array, "..."] | float) -> Float[Array, "*S"]:
    """Computes ``q * scale`` in float32."""
    return q.astype(jnp.float32) * scale
