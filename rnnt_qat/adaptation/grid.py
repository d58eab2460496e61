"""Changes of frozen variables as vectors of real numbers: every vector is a legal recognizer.

The search moves in real numbers; what is evaluated, and what is stored in the end, are integers of
the chip's formats. By the kind of a variable, a change is

    bias, int32 [M]      b + round(u x), x [M]; u is the RMS of the bias; within its accumulator
    kernel, int8 [K, M]  w + round(u (A + x_a) x_b), x_a [K, r], x_b [r, M]; u is the RMS of w; A is
                         random, so that x = 0 changes nothing (Hu et al., "LoRA", 2021)
    range of a kernel    s exp(x): its scale, and that of its products, which are requantized
"""

import fnmatch
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.fixedpoint.wide import Wide
from rnnt_qat.infra.errors import UserError
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.typing import Array, Float, Num, PyTree

_ACCUMULATOR = 2**31 - 1
_LARGEST_INPUT = 128
_LARGEST_BIAS = 2**24
"""Magnitude up to which a bias may grow: far beyond what the format of a result holds."""
_LARGEST_FACTOR = 4.0
"""Factor by which a kernel's scale may grow or shrink."""

BIASES = ("params/*/bias",)
SCALES = (f"{QUANT_STATS}/*kernel",)
LAST_LAYER = ("params/joint/*",)


class GridError(UserError, ValueError):
    """Variables that cannot be changed on the chip's grid; the message names them."""


@flax.struct.dataclass
class Grid:
    """The variables that a search changes, with what bounds them.

    Attributes:
      variables: frozen variables that a vector of zeros gives.
      bounds: the largest magnitude of each changed bias and of each changed kernel's weights, by
        path.
      projections: the random kernels ``A`` of low-rank changes, by path.
      paths: the changed variables, in the order of the vector.
      rank: rank r of the change of a kernel.
    """

    variables: PyTree
    bounds: dict[str, Num[Array, "..."]]
    projections: dict[str, Float[Array, "K r"]]
    paths: tuple[str, ...] = flax.struct.field(pytree_node=False)
    rank: int = flax.struct.field(pytree_node=False)

    @classmethod
    def of(
        cls,
        variables: PyTree,
        policy: PrecisionPolicy,
        patterns: Sequence[str],
        rank: int = 1,
        seed: int = 0,
    ) -> "Grid":
        """Returns the grid of the variables whose path matches a pattern.

        Args:
          variables: frozen variables (``serving.freeze``, ``export.thaw``).
          policy: the policy that they were frozen under; its chips bound the weights.
          patterns: shell patterns over paths such as ``params/joint/bias``; with layers in
            between, ``*`` matches any number of them.
          rank: rank of the change of a kernel.
          seed: of the random kernels of low-rank changes.

        Raises:
          GridError: a pattern matches nothing, or a match cannot be changed.
        """
        flat = flatten_dict(variables, sep="/")
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(path, pattern) for path in flat):
                raise GridError(f"no variable matches {pattern!r}; there are {', '.join(flat)}")
        paths = tuple(p for p in flat if any(fnmatch.fnmatchcase(p, x) for x in patterns))
        rng = np.random.default_rng(seed)
        bounds, projections = {}, {}
        for path in paths:
            leaf, kind = flat[path], _kind(path, flat[path])
            if kind == "bias":
                bounds[path] = _largest_bias(flat, path)
            elif kind == "kernel":
                shape = (leaf.shape[0], rank)
                projections[path] = jnp.asarray(rng.standard_normal(shape, np.float32))
                bounds[path] = _largest_weight(policy, path, leaf)
        return cls(variables, bounds, projections, paths, rank)

    def zeros(self) -> PyTree:
        """Returns the vector that changes nothing, as a dictionary of arrays by path."""
        flat = flatten_dict(self.variables, sep="/")
        found: dict[str, PyTree] = {}
        for path in self.paths:
            shape = jnp.shape(flat[path])
            if path in self.projections:
                found[path] = {
                    "a": jnp.zeros((shape[0], self.rank)),
                    "b": jnp.zeros((self.rank, shape[1])),
                }
            else:
                found[path] = jnp.zeros(shape)
        return found

    def at(self, vector: PyTree) -> PyTree:
        """Returns the frozen variables that a vector stands for.

        Args:
          vector: as ``zeros`` returns it.
        """
        flat = dict(flatten_dict(self.variables, sep="/"))
        for path in self.paths:
            leaf, x = flat[path], vector[path]
            if path in self.projections:
                change = _unit(leaf) * (self.projections[path] + x["a"]) @ x["b"]
                moved = jnp.round(leaf + change)
                bound = self.bounds[path]
                flat[path] = jnp.clip(moved, -bound, bound).astype(leaf.dtype)
            elif path in self.bounds:
                # The sum is one of integers: float32 does not hold all of them.
                change = jnp.clip(jnp.round(_unit(leaf) * x), -(2.0**29), 2.0**29)
                bound = self.bounds[path]
                flat[path] = jnp.clip(leaf + change.astype(jnp.int32), -bound, bound)
            else:
                limit = jnp.log(_LARGEST_FACTOR)
                flat[path] = leaf * jnp.exp(jnp.clip(x, -limit, limit))
        return unflatten_dict({tuple(path.split("/")): leaf for path, leaf in flat.items()})

    def size(self) -> int:
        """Returns the number of real numbers of a vector."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.zeros()))

    def changed(self, vector: PyTree) -> int:
        """Returns the number of stored numbers that a vector changes."""
        pairs = zip(jax.tree.leaves(self.variables), jax.tree.leaves(self.at(vector)), strict=True)
        return sum(int(jnp.sum(a != b)) for a, b in pairs)


def _kind(path: str, leaf: Array) -> str:
    """Returns ``bias``, ``kernel`` or ``range``.

    Raises:
      GridError: the variable is of another kind.
    """
    if isinstance(leaf, Wide) or path.endswith(("/high", "/low")):
        raise GridError(
            f"{path} is in an accumulator of more than 32 bits: only chips of 8-bit activations "
            "are adapted"
        )
    if path.startswith("params/") and leaf.dtype == jnp.int32 and leaf.ndim == 1:
        return "bias"
    if path.startswith("params/") and leaf.dtype == jnp.int8 and leaf.ndim == 2:
        return "kernel"
    if path.startswith(QUANT_STATS) and path.endswith("kernel"):
        return "range"
    raise GridError(
        f"{path} ({leaf.dtype}) is neither a bias, nor an 8-bit kernel, nor the range of a kernel: "
        "the formats of stored tensors stay as they were calibrated"
    )


def _unit(leaf: Num[Array, "*S"]) -> Float[Array, ""]:
    """Returns the root mean square of integers, at least 1."""
    return jnp.maximum(jnp.sqrt(jnp.mean(jnp.square(leaf.astype(jnp.float32)))), 1.0)


def _largest_weight(
    policy: PrecisionPolicy, path: str, kernel: Num[Array, "K M"]
) -> Num[Array, ""]:
    """Returns the largest magnitude of a kernel's weights: 7 under ``_w4``, whose words hold more.

    A kernel that holds larger ones already, because bits of its words flipped, keeps its own.
    """
    _, *layer, _ = path.split("/")
    precision = policy.for_serving().resolve(tuple(layer))
    if not isinstance(precision, OnAccelerator):
        raise GridError(f"{path} is not on a chip under policy {policy.name!r}")
    largest = precision.spec.tensor(Role.WEIGHT).format.maximum
    return jnp.float32(max(largest, int(np.abs(np.asarray(kernel, np.int32)).max())))


def _largest_bias(flat: PyTree, path: str) -> Num[Array, "M"]:
    """Returns the largest magnitude of each bias that no input makes its accumulator overflow.

    Each product of a layer with several kernels has an accumulator of its own; the bias belongs to
    one of them, so the smallest bound of all kernels is legal in any case.
    """
    layer = path.rpartition("/")[0]
    kernels = [k for p, k in flat.items() if p.rpartition("/")[0] == layer and jnp.ndim(k) == 2]
    kernels = [k for k in kernels if k.dtype == jnp.int8 and k.shape[1] == flat[path].shape[0]]
    reach = max(int(np.abs(np.asarray(k, np.int64)).sum(axis=0).max()) for k in kernels)
    own = int(np.abs(np.asarray(flat[path], np.int64)).max())
    largest = min(_ACCUMULATOR - _LARGEST_INPUT * reach, max(own, _LARGEST_BIAS))
    if largest < own or own > 2**30:
        raise GridError(f"{path}: its biases and products together fill the accumulator")
    return jnp.full(flat[path].shape, largest, jnp.int32)
