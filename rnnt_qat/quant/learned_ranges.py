"""Ranges that are trained: power-of-two thresholds (TQT) and learned step sizes (LSQ).

Both turn a parameter into the range of a site, from which ``quant.scales.range_to_scale`` makes its
scale in the chip's format. What the scale does to the loss needs no rule of its own: storing is
``round(x / scale)`` with the rounding straight through and nothing where it saturates, and the real
value is that times the scale. Their product rule is TQT's equation 8 and LSQ's equation 3.

The range comes out of its parameter without arithmetic that a compiler could round in another way:
what is trained, written down and served is the same number.
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
    """How ranges are parameters."""

    @property
    def rate(self) -> float:
        """Learning rate of the parameters as a multiple of the network's."""

    def initial(self, max_abs: Float[Array, "..."]) -> Float[Array, "..."]:
        """Parameter that begins at a calibrated range > 0."""

    def max_abs(self, parameter: Float[Array, "..."]) -> Float[Array, "..."]:
        """Range, ``[-max_abs, max_abs]``, with its gradient."""

    def check(self, spec: AcceleratorSpec) -> None:
        """Raises ValueError if these are no ranges for the chip."""


@dataclass(frozen=True)
class TrainedThreshold:
    """The base-2 logarithm of a power of two (Jain et al., 2020, section 3).

    Attributes:
      rate: their thresholds have a learning rate of 1e-2, whatever the weights have; this brings
        an accelerator-aware stage's 2e-4 there.
    """

    rate: float = 50.0

    def initial(self, max_abs: Float[Array, "..."]) -> Float[Array, "..."]:
        """In the middle of the basin of the power of two that covers the range."""
        return jnp.log2(power_of_two_above(max_abs)) - 0.5

    def max_abs(self, parameter: Float[Array, "..."]) -> Float[Array, "..."]:
        """``2^ceil(log2 t)``; the ceiling is straight through, so the slope is that times ln 2."""
        fixed = jax.lax.stop_gradient(parameter)
        power = jnp.ldexp(jnp.float32(1), jnp.ceil(fixed).astype(jnp.int32))
        return straight_through(power, power * jnp.exp2(parameter - fixed))

    def check(self, spec: AcceleratorSpec) -> None:
        """Every scale that the chip leaves open must be a power of two."""
        others = [t.role.name for t in spec.tensors if t.calibrated and not t.power_of_two]
        if others:
            raise ValueError(
                f"tqt trains powers of two, and the scale of {', '.join(others)} on {spec.name} "
                "is none; lsq trains any scale"
            )


@dataclass(frozen=True)
class LearnedStep:
    """The step size, in steps of the largest integer: the range (Esser et al., 2020).

    Their gradient scale (section 2.2) makes a step move as fast, in proportion, as the values that
    it rounds. Adam, which divides gradients by their size, does that here: a range is as large as
    its values, and so moves as they do. A chip with power-of-two scales rounds the step up.

    Attributes:
      rate: as the weights'.
    """

    rate: float = 1.0

    def initial(self, max_abs: Float[Array, "..."]) -> Float[Array, "..."]:
        """The range."""
        return jnp.asarray(max_abs, jnp.float32)

    def max_abs(self, parameter: Float[Array, "..."]) -> Float[Array, "..."]:
        """The range."""
        return parameter

    def check(self, spec: AcceleratorSpec) -> None:
        """Any chip."""
