"""Operators that compute nothing and mark their calls in the traced program of a layer."""

from collections.abc import Sequence

import flax.struct
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive

from rnnt_qat.quant.operators import Addends
from rnnt_qat.typing import Array


class RecordError(ValueError):
    """The operators of a layer cannot be recorded; the message describes the cause."""


OPERATOR = Primitive("recorded_operator")
"""Primitive that represents an operator in a traced layer; it is never computed."""
OPERATOR.def_abstract_eval(lambda *_, shape, **__: ShapedArray(shape, jnp.float32))


@flax.struct.dataclass
class SymbolicOperators:
    """An ``OperatorSet`` that marks its calls in the traced program and computes nothing."""

    def weight(
        self, site: str, w: Array, x: Array | None = None, bias: Array | None = None
    ) -> Array:
        """Marks the call."""
        return _mark("weight", site, w.shape, w)

    def lookup(self, table: Array, rows: Array) -> Array:
        """Raises RecordError: the networks export their tables themselves."""
        raise RecordError("lookup inside a recurrent layer")

    def store(self, site: str, x: Array) -> Array:
        """Marks the call."""
        return _mark("store", site, x.shape, x)

    def input(self, site: str, x: Array) -> Array:
        """Marks the call."""
        return _mark("input", site, x.shape, x)

    def values(self, x: Array) -> Array:
        """Returns the value unchanged."""
        return x

    def load(self, site: str, values: Array) -> Array:
        """Marks the call, which determines the format of a state."""
        return _mark("load", site, values.shape, values)

    def accumulate(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        """Marks the call."""
        operands = (x, w) if bias is None else (x, w, bias)
        return _mark("accumulate", "", (*x.shape[:-1], w.shape[-1]), *operands)

    def add(self, a: Array, b: Array, out: str) -> Array:
        """Marks the call."""
        return _mark("add", out, jnp.broadcast_shapes(a.shape, b.shape), a, b)

    def align(self, site: str, values: Array, addends: Addends, out: str) -> Array:
        """Returns the addend unchanged."""
        return values

    def add_aligned(self, a: Array, b: Array, addends: Addends, out: str) -> Array:
        """Marks the call as ``add``."""
        return self.add(a, b, out)

    def mul(self, a: Array, b: Array, out: str) -> Array:
        """Marks the call."""
        return _mark("mul", out, jnp.broadcast_shapes(a.shape, b.shape), a, b)

    def sigmoid(self, x: Array, out: str) -> Array:
        """Marks the call."""
        return _mark("sigmoid", out, x.shape, x)

    def tanh(self, x: Array, out: str) -> Array:
        """Marks the call."""
        return _mark("tanh", out, x.shape, x)

    def layer_norm(self, x: Array, out: str) -> Array:
        """Refuses the call: no runtime of the exported graphs has the operator.

        Raises:
          RecordError: always.
        """
        raise RecordError(f"layer normalization of {out!r} inside a recurrent layer")


def _mark(operator: str, site: str, shape: Sequence[int], *operands: Array) -> Array:
    return OPERATOR.bind(*operands, operator=operator, site=site, shape=tuple(shape))
