"""The seam: a layer asks an operator set for its arithmetic and never mentions bits.

An ``OperatorSet`` is a pytree (its leaves are the ranges in force), so it can be closed over by a
scan, differentiated and passed through a custom VJP. Values are opaque to the layers: plain arrays
under ``FloatOperators``; emulated or frozen integers under a chip's operator set. A *site* names
a tensor of the layer ("input", "gate_pre", "cell", ...); the layer's policy gives it a format.
"""

from typing import Protocol

import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.typing import Array, Float


class OperatorSet(Protocol):
    """Operators of one layer, bound to the formats of its sites."""

    def weight(self, site: str, w: Array) -> Array:
        """A parameter ``[in, out]`` as the chip stores it; called once a step, outside any scan."""

    def store(self, site: str, x: Array) -> Array:
        """A value as the chip's memory holds it at ``site``."""

    def accumulate(self, x: Array, w: Array) -> Array:
        """``[..., in] x [in, out] -> [..., out]`` in the accumulator: linear in ``x`` and in ``w``."""

    def add(self, a: Array, b: Array, out: str) -> Array:
        """Sum (of values or accumulators), stored at ``out``."""

    def mul(self, a: Array, b: Array, out: str) -> Array:
        """Product, stored at ``out``."""

    def sigmoid(self, x: Array, out: str) -> Array:
        """Logistic function, stored at ``out``."""

    def tanh(self, x: Array, out: str) -> Array:
        """Hyperbolic tangent, stored at ``out``."""


@flax.struct.dataclass
class FloatOperators:
    """The plain operators, in the dtype of their inputs."""

    def weight(self, site: str, w: Float[Array, "K M"]) -> Float[Array, "K M"]:
        """The parameter itself."""
        return w

    def store(self, site: str, x: Array) -> Array:
        """The value itself."""
        return x

    def accumulate(self, x: Float[Array, "*S K"], w: Float[Array, "K M"]) -> Float[Array, "*S M"]:
        """Matrix product with a float32 accumulator."""
        return jnp.matmul(x, w, preferred_element_type=jnp.float32).astype(x.dtype)

    def add(self, a: Array, b: Array, out: str) -> Array:
        """``a + b``."""
        return a + b

    def mul(self, a: Array, b: Array, out: str) -> Array:
        """``a * b``."""
        return a * b

    def sigmoid(self, x: Array, out: str) -> Array:
        """Logistic function."""
        return jax.nn.sigmoid(x)

    def tanh(self, x: Array, out: str) -> Array:
        """Hyperbolic tangent."""
        return jnp.tanh(x)
