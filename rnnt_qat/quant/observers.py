"""Calibration: selects the range of a site's format from values seen in floating point.

An observer is a frozen configuration. Its state is a pytree of arrays, so it can be a flax
variable, pass through jit and be summed or maximized over devices. All observers use magnitudes,
because formats are symmetric.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import jax
import jax.numpy as jnp

from rnnt_qat.fixedpoint import wide
from rnnt_qat.fixedpoint.wide import Wide
from rnnt_qat.typing import Array, Bool, Float, PyTree


class Observer(Protocol):
    """Collects statistics of one site."""

    def for_bits(self, bits: int) -> "Observer":
        """Returns the observer for a format of ``bits`` bits."""

    def initial_state(self) -> PyTree:
        """Returns the state before any value."""

    def observe(self, state: PyTree, x: Float[Array, "*S"], mask: Bool[Array, "*S"]) -> PyTree:
        """Returns the state after a batch.

        Args:
          state: the state before.
          x: real values.
          mask: True where a value counts; may lack trailing axes of ``x``.
        """

    def max_abs(self, state: PyTree) -> Float[Array, ""]:
        """Returns the range to cover, ``[-max_abs, max_abs]``; 0 if no value was seen."""


@dataclass(frozen=True)
class MaxObserver:
    """The largest magnitude, so that nothing is clipped. The state is the range itself."""

    def for_bits(self, bits: int) -> "MaxObserver":
        """Returns this observer."""
        return self

    def initial_state(self) -> Float[Array, ""]:
        """Returns zero."""
        return jnp.zeros(())

    def observe(
        self, state: Float[Array, ""], x: Float[Array, "*S"], mask: Bool[Array, "*S"]
    ) -> Float[Array, ""]:
        """Returns the running maximum."""
        return jnp.maximum(state, _magnitude(x, mask).max())

    def max_abs(self, state: Float[Array, ""]) -> Float[Array, ""]:
        """Returns the maximum."""
        return state


@dataclass(frozen=True)
class MovingAverageObserver:
    """Moving average of the largest magnitude per batch (Jacob et al., 2018, section 3.1).

    Attributes:
      decay: weight of earlier batches, in [0, 1); the average is unbiased from the first batch.
    """

    decay: float = 0.9

    def __post_init__(self):
        if not 0 <= self.decay < 1:
            raise ValueError(f"MovingAverageObserver.decay={self.decay} must lie in [0, 1)")

    def for_bits(self, bits: int) -> "MovingAverageObserver":
        """Returns this observer."""
        return self

    def initial_state(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Returns a zero average with zero weight."""
        return jnp.zeros(()), jnp.zeros(())

    def observe(self, state: PyTree, x: Float[Array, "*S"], mask: Bool[Array, "*S"]) -> PyTree:
        """Returns the average and its weight."""
        average, weight = state
        seen = 1 - self.decay
        after = (
            self.decay * average + seen * _magnitude(x, mask).max(),
            self.decay * weight + seen,
        )
        # A batch of padding only (of a device without rows left) carries no information on the
        # range.
        anything = jnp.any(mask)
        return tuple(jnp.where(anything, new, old) for new, old in zip(after, state, strict=True))

    def max_abs(self, state: PyTree) -> Float[Array, ""]:
        """Returns the average divided by its weight."""
        average, weight = state
        return average / jnp.maximum(weight, 1e-9)


_LOWEST_OCTAVE, _HIGHEST_OCTAVE = -24, 24


@dataclass(frozen=True)
class _MagnitudeHistogram:
    """Histogram of magnitudes on a logarithmic axis; all tensors share the bins, so counts add up.

    A bin counts to 2^63: float32 counts exactly only to 2^24, which a few minutes of speech exceed.

    Attributes:
      bins_per_octave: resolution; 16 distinguish ranges 4 % apart.
    """

    bins_per_octave: int = 16

    @property
    def _edges(self) -> Float[Array, "N"]:
        """Upper edges of the bins."""
        count = (_HIGHEST_OCTAVE - _LOWEST_OCTAVE) * self.bins_per_octave
        return jnp.exp2(_LOWEST_OCTAVE + (jnp.arange(count) + 1.0) / self.bins_per_octave)

    def initial_state(self) -> Wide:
        """Returns zero counts."""
        return wide.widen(jnp.zeros(self._edges.shape, jnp.int32))

    def observe(self, state: Wide, x: Float[Array, "*S"], mask: Bool[Array, "*S"]) -> Wide:
        """Returns the updated counts, without zeros: no range changes how they are rounded."""
        magnitude = _magnitude(x, mask).ravel()
        index = jnp.minimum(jnp.searchsorted(self._edges, magnitude), state.high.shape[0] - 1)
        here = jnp.zeros(state.high.shape, jnp.int32).at[index].add(magnitude > 0)
        return wide.add(state, wide.widen(here))


@dataclass(frozen=True)
class PercentileObserver(_MagnitudeHistogram):
    """The range that holds a given percentage of the values; the rest saturates.

    Attributes:
      percent: in (0, 100].
    """

    percent: float = 99.99

    def __post_init__(self):
        if not 0 < self.percent <= 100:
            raise ValueError(f"PercentileObserver.percent={self.percent} must lie in (0, 100]")

    def for_bits(self, bits: int) -> "PercentileObserver":
        """Returns this observer."""
        return self

    def max_abs(self, state: Wide) -> Float[Array, ""]:
        """Returns the upper edge of the bin in which the percentage is reached."""
        # Counting from the top keeps the few values outside exact, however many are inside.
        from_here = jax.lax.associative_scan(wide.add, state, reverse=True)
        total = Wide(from_here.high[0], from_here.low[0])
        beyond = wide.add(from_here, wide.negate(state))
        reached = wide.to_float(beyond) <= wide.to_float(total) * (1 - self.percent / 100)
        return jnp.where(wide.to_float(total) > 0, self._edges[jnp.argmax(reached)], 0.0)


@dataclass(frozen=True)
class MseObserver(_MagnitudeHistogram):
    """The range with the least expected squared error of rounding and saturation.

    Attributes:
      bits: width of the calibrated format, 2 to 16.
    """

    bits: int = 8

    def __post_init__(self):
        if not 2 <= self.bits <= 16:
            raise ValueError(f"MseObserver.bits={self.bits} must lie in 2..16")

    def for_bits(self, bits: int) -> "MseObserver":
        """Returns the observer for a format of that width."""
        return replace(self, bits=bits)

    def max_abs(self, state: Wide) -> Float[Array, ""]:
        """Returns the best of the bins' upper edges."""
        edges, counts = self._edges, wide.to_float(state)
        centres = edges * 2.0 ** (-0.5 / self.bins_per_octave)
        step = edges / (2 ** (self.bits - 1) - 1)
        # Values below half a step become 0, others have an error uniform over a step, and values
        # outside saturate.
        rounding = jnp.minimum(centres[None] ** 2, step[:, None] ** 2 / 12)
        clipping = jnp.maximum(centres[None] - edges[:, None], 0) ** 2
        error = (jnp.where(centres[None] > edges[:, None], clipping, rounding) * counts).sum(axis=1)
        best = edges[jnp.argmin(jnp.where(edges <= _highest(edges, counts), error, jnp.inf))]
        return jnp.where(counts.sum() > 0, best, 0.0)


def _highest(edges: Float[Array, "N"], counts: Float[Array, "N"]) -> Float[Array, ""]:
    return jnp.where(counts > 0, edges, 0.0).max()


def _magnitude(x: Float[Array, "*S"], mask: Bool[Array, "*S"]) -> Float[Array, "*S"]:
    x = x.astype(jnp.float32)
    mask = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
    return jnp.where(mask, jnp.abs(x), 0.0)
