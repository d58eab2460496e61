"""Diagnostics: the error that each operator of a chip adds to its values.

A ``Recorder`` wraps a layer's operators and compares each result with the real result of the same
operands, so that an operator is charged with its own error only. Layers use it only under a policy
with ``diagnosing=True``. Tallies are sums, so they add up over batches and layers.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.accelerators.spec import Operator
from rnnt_qat.quant import smooth_units
from rnnt_qat.quant.matmul import matmul
from rnnt_qat.quant.mean_operands import OperandRecorder
from rnnt_qat.quant.nna_operators import REQUANTIZE
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.operators import Addends, OperatorSet, Value
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.qtensor import QTensor, dequantize
from rnnt_qat.typing import Array, Bool, Float, Int, Num, PyTree

DIAGNOSTICS = "diagnostics"
"""Name of the variable collection of tallies; keys are ``site operator``."""
ACCUMULATOR = "accumulator"
HISTOGRAM_BITS = tuple(half / 2 for half in range(-40, 8))
"""Lower ends of a histogram's bins: log2 of a magnitude relative to the format's largest."""


@flax.struct.dataclass
class Tally:
    """Sums over the values that an operator wrote, without masked positions.

    Attributes:
      count: number of values.
      saturated: values at the smallest or largest integer of their format.
      clipped: values whose real result lies outside the format's range.
      table_ends: results of a sigmoid or tanh at an end of the unit's range.
      signal: sum of squares of the real results.
      noise: sum of squares of the errors.
      peak: largest integer magnitude.
      raised: for a kernel, number of bits by which its scale was raised to hold the bias.
      histogram: magnitudes of the real results relative to the largest of their format, in bins of
        half a bit (``HISTOGRAM_BITS``); the first bin holds smaller ones too, the last larger ones.
      bound: the largest real magnitude of the format; 0 if there is none.
    """

    count: Float[Array, ""]
    saturated: Float[Array, ""]
    clipped: Float[Array, ""]
    table_ends: Float[Array, ""]
    signal: Float[Array, ""]
    noise: Float[Array, ""]
    peak: Float[Array, ""]
    raised: Float[Array, ""]
    histogram: Float[Array, "bins"]
    bound: Float[Array, ""]

    @classmethod
    def zero(cls) -> "Tally":
        """Returns the tally of no values."""
        nothing = cls(*(jnp.zeros(()) for _ in dataclasses.fields(cls)))
        return dataclasses.replace(nothing, histogram=jnp.zeros(len(HISTOGRAM_BITS)))

    def __add__(self, other: "Tally") -> "Tally":
        """Returns the tally of both sets of values."""
        total = jax.tree.map(jnp.add, self, other)
        return dataclasses.replace(
            total,
            peak=jnp.maximum(self.peak, other.peak),
            raised=jnp.maximum(self.raised, other.raised),
            bound=jnp.maximum(self.bound, other.bound),
        )


@dataclasses.dataclass(frozen=True)
class Recorder:
    """An ``OperatorSet`` that computes as ``plain`` and records each result; not for use in a scan.

    Attributes:
      plain: the layer's operators.
      note: called with ``site operator`` and a tally.
      mask: True where a leading position is valid; None if all are.
    """

    plain: OperatorSet
    note: Callable[[str, Tally], Any]
    mask: Bool[Array, "*P"] | None = None

    def weight(
        self,
        site: str,
        w: Num[Array, "K M"],
        x: Value | None = None,
        bias: Num[Array, "M"] | None = None,
    ) -> Value:
        """Records the quantized kernel against the parameter."""
        kernel, raised = self.plain.weight(site, w, x, bias), None
        if isinstance(kernel, QTensor) and bias is not None:
            raised = jnp.log2(kernel.scale / self.plain.weight(site, w).scale).max()
        unmasked = dataclasses.replace(self, mask=None)
        return unmasked._noted(site, "quantize", kernel, w, raised=raised)

    def lookup(self, table: Num[Array, "V E"], rows: Int[Array, "*S"]) -> Value:
        """Looks up without recording."""
        return self.plain.lookup(table, rows)

    def store(self, site: str, x: Value) -> Value:
        """Records the stored value against the value before storing."""
        return self._noted(site, REQUANTIZE, self.plain.store(site, x), dequantize(x))

    def input(self, site: str, x: Value) -> Value:
        """Records the stored value if it had to be stored."""
        held = self.plain.input(site, x)
        return held if held is x else self._noted(site, "quantize", held, dequantize(x))

    def values(self, x: Value) -> Num[Array, "*S"]:
        """Returns the bare array."""
        return self.plain.values(x)

    def load(self, site: str, values: Num[Array, "*S"]) -> Value:
        """Attaches the scale."""
        return self.plain.load(site, values)

    def accumulate(self, x: Value, w: Value, bias: Num[Array, "M"] | None = None) -> Value:
        """Records the accumulator against the real product."""
        product = matmul(dequantize(x), dequantize(w))
        real = product if bias is None else product + bias
        return self._noted(ACCUMULATOR, Operator.DOT.value, self.plain.accumulate(x, w, bias), real)

    def add(self, a: Value, b: Value, out: str) -> Value:
        """Records the sum against the real sum."""
        real = dequantize(a) + dequantize(b)
        return self._noted(out, Operator.ADD.value, self.plain.add(a, b, out), real)

    def align(self, site: str, values: Num[Array, "*S"], addends: Addends, out: str) -> PyTree:
        """Aligns without recording."""
        return self.plain.align(site, values, addends, out)

    def add_aligned(self, a: PyTree, b: PyTree, addends: Addends, out: str) -> Value:
        """Adds without recording: ``add`` records the sum of the same values."""
        return self.plain.add_aligned(a, b, addends, out)

    def mul(self, a: Value, b: Value, out: str) -> Value:
        """Records the product against the real product."""
        real = dequantize(a) * dequantize(b)
        return self._noted(out, Operator.MUL.value, self.plain.mul(a, b, out), real)

    def sigmoid(self, x: Value, out: str) -> Value:
        """Records the result against the logistic function."""
        return self._unit(self.plain.sigmoid, Operator.SIGMOID, x, out, jax.nn.sigmoid)

    def tanh(self, x: Value, out: str) -> Value:
        """Records the result against the hyperbolic tangent."""
        return self._unit(self.plain.tanh, Operator.TANH, x, out, jnp.tanh)

    def layer_norm(self, x: Value, out: str) -> Value:
        """Records the result against the real normalization."""
        real = smooth_units.layer_norm(dequantize(x))
        return self._noted(out, Operator.LAYER_NORM.value, self.plain.layer_norm(x, out), real)

    def _unit(self, unit, operator: Operator, x: Value, out: str, exact) -> Value:
        result, ends = unit(x, out), None
        if isinstance(x, QTensor) and x.format is not None:
            rails = jnp.asarray([x.format.minimum, x.format.maximum], x.values.dtype)
            least, most = unit(dataclasses.replace(x, values=rails, integers=None), out).values
            ends = (result.values == least) | (result.values == most)
        return self._noted(out, operator.value, result, exact(dequantize(x)), ends)

    def _noted(
        self,
        site: str,
        operator: str,
        out: Value,
        real: Array,
        ends: Array | None = None,
        raised: Array | None = None,
    ) -> Value:
        def total(x: Array) -> Array:
            x = jnp.broadcast_to(x, real.shape).astype(jnp.float32)
            return jnp.where(self._counts(x.ndim), x, 0.0).sum()

        saturated = clipped = jnp.zeros(())
        if isinstance(out, QTensor) and out.format is not None:
            smallest, largest = out.format.minimum, out.format.maximum
            saturated = (out.values <= smallest) | (out.values >= largest)
            steps = real / out.scale
            clipped = (steps < smallest - 0.5) | (steps > largest + 0.5)
        magnitude = jnp.abs(dequantize(out) / out.scale if isinstance(out, QTensor) else real)
        most = self._largest(site, out)
        scale = jnp.asarray(out.scale if isinstance(out, QTensor) else 1.0)
        bits = jnp.log2(jnp.abs(real) / (scale * max(most, 1.0)))
        place = jnp.floor(2 * bits) - 2 * HISTOGRAM_BITS[0]
        place = jnp.clip(place, 0, len(HISTOGRAM_BITS) - 1).astype(jnp.int32)
        counted = jnp.broadcast_to(self._counts(real.ndim), real.shape).astype(jnp.float32)
        histogram = jnp.zeros(len(HISTOGRAM_BITS)).at[place].add(counted if most else 0.0)
        tally = Tally(
            count=total(jnp.ones(())),
            saturated=total(saturated),
            clipped=total(clipped),
            table_ends=jnp.zeros(()) if ends is None else total(ends),
            signal=total(real**2),
            noise=total((dequantize(out) - real) ** 2),
            peak=jnp.where(self._counts(real.ndim), magnitude, 0.0).max(initial=0.0),
            raised=jnp.zeros(()) if raised is None else raised,
            histogram=histogram,
            bound=jnp.max(scale) * most,
        )
        self.note(f"{site} {operator}", jax.lax.stop_gradient(tally))
        return out

    def _largest(self, site: str, out: Value) -> float:
        """Returns the largest integer magnitude that a result can have; 0 without a format."""
        if not isinstance(out, QTensor):
            return 0.0
        if out.format is not None:
            return float(max(-out.format.minimum, out.format.maximum))
        spec = getattr(self.plain, "spec", None)  # integer products alone have no accumulator
        return 2.0 ** (spec.accumulator.bits - 1) if site == ACCUMULATOR and spec else 0.0

    def _counts(self, rank: int) -> Array:
        if self.mask is None:
            return jnp.bool_(True)
        return self.mask.reshape(self.mask.shape + (1,) * (rank - self.mask.ndim))


def recording(ops: OperatorSet, mask: Bool[Array, "*P"] | None) -> OperatorSet:
    """Returns operators whose recorder counts valid positions only; others are returned unchanged.

    Args:
      ops: the layer's operators.
      mask: True where a leading position is valid; None if all are.
    """
    if isinstance(ops, Recorder | OperandRecorder):
        return dataclasses.replace(ops, mask=mask)
    return ops


def unrecorded(ops: OperatorSet) -> OperatorSet:
    """Returns the operators without a recorder, for use inside a scan."""
    return ops.plain if isinstance(ops, Recorder | OperandRecorder) else ops


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Error statistics of one operator of one layer; rates are fractions of the values written.

    Attributes:
      layer: module path.
      tensor: the site written, or ``accumulator``.
      operator: the operator that writes it.
      saturation_rate: results at a bound of their format.
      clip_rate: real results beyond the bounds.
      table_end_rate: results of a sigmoid or tanh at the ends of its table.
      headroom_bits: for an accumulator, bits that its largest sum left unused; else nan.
      raised_bits: for a kernel, bits lost because its scale was raised to hold a much larger bias.
      sqnr_db: ratio of the real result to the operator's own error, in dB; inf without error.
      bound: largest real magnitude of the format; 0 if there is none.
      histogram: numbers of real results by magnitude relative to ``bound``; see ``Tally``.
    """

    layer: str
    tensor: str
    operator: str
    saturation_rate: float
    clip_rate: float
    table_end_rate: float
    headroom_bits: float
    raised_bits: float
    sqnr_db: float
    bound: float = 0.0
    histogram: tuple[float, ...] = ()

    def metrics(self) -> Iterator[tuple[str, float]]:
        """Yields the finite statistics with their names."""
        for name in FIGURES:
            value = getattr(self, name)
            if math.isfinite(value):
                yield f"{self.layer}/{self.tensor}/{self.operator}/{name}", value


FIGURES = (
    "saturation_rate",
    "clip_rate",
    "table_end_rate",
    "headroom_bits",
    "raised_bits",
    "sqnr_db",
)
"""Fields of a ``Diagnosis`` that are one number to record and to colour."""


def summarize(tallies: PyTree, policy: PrecisionPolicy) -> list[Diagnosis]:
    """Converts the collection of tallies to rows, in the order of layers.

    Args:
      tallies: the ``diagnostics`` collection.
      policy: the policy under which it was recorded; gives the widths of accumulators.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tallies, is_leaf=lambda x: isinstance(x, Tally))
    rows = []
    for keys, tally in leaves:
        *path, name = (key.key for key in keys)
        site, _, operator = name.partition(" ")
        precision = policy.resolve(tuple(path))
        bits = math.nan
        if site == ACCUMULATOR and isinstance(precision, OnAccelerator):
            bits = precision.spec.accumulator.bits - 1 - math.log2(max(float(tally.peak), 1.0))
        count, noise = max(float(tally.count), 1.0), float(tally.noise)
        ratio = float(tally.signal) / noise if noise else math.inf
        rows.append(
            Diagnosis(
                layer="/".join(path),
                tensor=site,
                operator=operator,
                saturation_rate=float(tally.saturated) / count,
                clip_rate=float(tally.clipped) / count,
                table_end_rate=float(tally.table_ends) / count,
                headroom_bits=bits,
                raised_bits=float(tally.raised),
                sqnr_db=10 * math.log10(ratio) if ratio else -math.inf,
                bound=float(tally.bound),
                histogram=tuple(float(n) for n in tally.histogram),
            )
        )
    return rows
