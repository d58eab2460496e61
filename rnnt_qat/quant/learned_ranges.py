"""Trained ranges: power-of-two thresholds (TQT) and learned step sizes (LSQ).

Both map a parameter to the range of a site; ``quant.scales.range_to_scale`` turns the range into a
scale of the chip's format. The gradient of the scale needs no rule of its own: storing computes
``round(x / scale)`` with straight-through rounding and a zero gradient under saturation, and the
real value is the result times the scale. By the product rule, this gives equation 8 of TQT and
equation 3 of LSQ.

The range is computed from its parameter without arithmetic that compilers might round differently,
so the trained, saved and served ranges are equal.
"""

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp

from rnnt_qat.accelerators.spec import AcceleratorSpec
from rnnt_qat.quant.scales import power_of_two_above
from rnnt_qat.quant.straight_through import straight_through
from rnnt_qat.typing import Array, Float


class LearnedRange(Protocol):
    """The parametrization of trained ranges."""

    @property
    def rate(self) -> float:
        """Learning rate of the parameters as a multiple of the network's."""

    def initial(self, max_abs: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the initial parameter of a calibrated range > 0."""

    def max_abs(self, parameter: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the range ``[-max_abs, max_abs]``, differentiable in the parameter."""

    def check(self, spec: AcceleratorSpec) -> None:
        """Raises ValueError if the chip cannot use this parametrization."""


@dataclass(frozen=True)
class TrainedThreshold:
    """The base-2 logarithm of a power-of-two range (Jain et al., 2020, section 3).

    Attributes:
      rate: the paper trains thresholds with a learning rate of 1e-2, whatever that of the weights;
        this factor gives 1e-2 in an accelerator-aware stage, whose rate is 2e-4.
    """

    rate: float = 50.0

    def initial(self, max_abs: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the middle of the interval that maps to the power of two covering the range."""
        return jnp.log2(power_of_two_above(max_abs)) - 0.5

    def max_abs(self, parameter: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns ``2^ceil(log2 t)`` with a straight-through ceiling.

        The slope is the range times ln 2.
        """
        fixed = jax.lax.stop_gradient(parameter)
        power = jnp.ldexp(jnp.float32(1), jnp.ceil(fixed).astype(jnp.int32))
        return straight_through(power, power * jnp.exp2(parameter - fixed))

    def check(self, spec: AcceleratorSpec) -> None:
        """Raises ValueError if a calibrated scale of the chip is not a power of two."""
        others = [t.role.name for t in spec.tensors if t.calibrated and not t.power_of_two]
        if others:
            raise ValueError(
                f"tqt trains powers of two, and the scale of {', '.join(others)} on {spec.name} "
                "is none; lsq trains any scale"
            )


@dataclass(frozen=True)
class LearnedStep:
    """The step size times the largest integer, which is the range (Esser et al., 2020).

    The paper scales gradients (section 2.2) so that a step changes as fast, in proportion, as the
    values that it rounds. Adam, which divides gradients by their size, has the same effect here: a
    range is as large as its values and changes as fast. Chips with power-of-two scales round the
    step up.

    Attributes:
      rate: equal to the rate of the weights.
    """

    rate: float = 1.0

    def initial(self, max_abs: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the range."""
        return jnp.asarray(max_abs, jnp.float32)

    def max_abs(self, parameter: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the parameter, which is the range."""
        return parameter

    def check(self, spec: AcceleratorSpec) -> None:
        """Accepts any chip."""
