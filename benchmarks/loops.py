"""Loops of a lowered program: what one turn of each computes, read from StableHLO."""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterator

from jax.extend.mlir import ir

_FREE = {"constant", "return", "reshape", "broadcast_in_dim", "iota", "optimization_barrier"}
"""Operations that compute nothing: XLA makes them part of others."""

_READS, _WRITES = {"gather"}, {"scatter"}
_SLICES, _UPDATES = {"dynamic_slice", "real_dynamic_slice"}, {"dynamic_update_slice"}
_REDUCTIONS = {"reduce", "reduce_window", "sort"}
_HOST = ("callback", "infeed", "outfeed", "send", "recv")


@dataclasses.dataclass(frozen=True)
class Body:
    """One turn of a loop, or the program outside of loops.

    Attributes:
      name: where it comes from in the traced Python code; empty for the program.
      depth: number of loops around it, itself included.
      turns: number of turns if the condition compares with a constant, else None.
      operations: number of operations that compute something, without those of loops inside.
      constant: number of these that compute the same in every turn; XLA moves most of them out.
      dots: number of matrix products by dtypes and sizes, e.g. ``f32 x f32 [8, 512, 2048]``.
      gathers: number of reads at computed positions.
      scatters: number of writes at computed positions.
      slices: number of slices of which one position is computed, e.g. the turn's part of an input.
      updates: number of such slices that are written.
      reductions: number of reductions and sorts.
      host: names of the calls that leave the device.
    """

    name: str
    depth: int
    turns: int | None
    operations: int
    constant: int
    dots: dict[str, int]
    gathers: int
    scatters: int
    slices: int
    updates: int
    reductions: int
    host: tuple[str, ...]


def bodies(module: ir.Module) -> list[Body]:
    """Returns the program outside of loops, then its loops from the outside in.

    Functions count where they are called; what no result needs, XLA removes and is not counted.

    Args:
      module: StableHLO as ``jax.stages.Lowered.compiler_ir`` returns it.
    """
    reader = _Reader(module)
    found: list[Body] = []
    program = reader.entries(reader.functions["main"].regions[0], {})
    _append(program, set(), "", 0, 1, found)
    return found


@dataclasses.dataclass
class _Entry:
    """An operation whose values have numbers of their own wherever its function is called.

    Attributes:
      op: the operation.
      reads: numbers of its operands, and of values outside that its regions read.
      results: numbers of its results.
      inside: operations of its regions: those of a loop's body, or of the sides of a condition.
      changing: numbers of the values that a loop's turn gets from the one before.
    """

    op: ir.Operation
    reads: set[int]
    results: list[int]
    inside: list["_Entry"]
    changing: set[int]


class _Reader:
    def __init__(self, module: ir.Module):
        self.functions = {op.attributes["sym_name"].value: op for op in module.body.operations}
        self._numbers = itertools.count()

    def entries(self, region: ir.Region, values: dict[ir.Value, int]) -> list[_Entry]:
        """Returns the operations of a region, without those that nothing needs.

        Args:
          region: of one block.
          values: numbers of the values that it may read; those of its own are added.
        """
        (block,) = region.blocks
        for argument in block.arguments:
            if argument not in values:
                values[argument] = next(self._numbers)
        found: list[_Entry] = []
        for op in block.operations:
            if _name(op) == "call":
                found += self._called(op, values)
                continue
            inside: list[_Entry] = []
            changing: set[int] = set()
            for side in _regions_that_run(op):
                own = dict(values)
                inside += self.entries(side, own)
                passed_on = list(side.blocks[0].operations)[-1].operands
                arguments = [own[argument] for argument in side.blocks[0].arguments]
                pairs = zip(arguments, passed_on, strict=bool(arguments))
                changing |= {number for number, value in pairs if own[value] != number}
            reads = {values[operand] for operand in op.operands}
            reads |= {number for entry in inside for number in entry.reads}
            results = [next(self._numbers) for _ in op.results]
            values.update(zip(op.results, results, strict=True))
            found.append(_Entry(op, reads, results, inside, changing))
        return _needed(found)

    def _called(self, call: ir.Operation, values: dict[ir.Value, int]) -> list[_Entry]:
        callee = self.functions[ir.FlatSymbolRefAttr(call.attributes["callee"]).value].regions[0]
        (block,) = callee.blocks
        own = {
            argument: values[operand]
            for argument, operand in zip(block.arguments, call.operands, strict=True)
        }
        *entries, end = self.entries(callee, own)
        for result, returned in zip(call.results, end.op.operands, strict=True):
            values[result] = own[returned]
        return entries


def _needed(entries: list[_Entry]) -> list[_Entry]:
    """Returns the operations whose results are returned or read, or that act outside."""
    read: set[int] = set()
    needed = []
    for entry in reversed(entries):
        if _name(entry.op) in ("return", *_HOST) or _acts(entry.op) or read & set(entry.results):
            read |= entry.reads
            needed.append(entry)
    return needed[::-1]


def _acts(op: ir.Operation) -> bool:
    return (
        "has_side_effect" in op.attributes and ir.BoolAttr(op.attributes["has_side_effect"]).value
    )


def _regions_that_run(op: ir.Operation) -> list[ir.Region]:
    """Returns a loop's body or the sides of a condition.

    The scalar functions inside reductions, sorts and scatters are part of these.
    """
    kind = _name(op)
    if kind == "while":
        return [op.regions[1]]
    return list(op.regions) if kind in ("case", "if") else []


def _append(
    entries: list[_Entry],
    changing: set[int],
    name: str,
    depth: int,
    turns: int | None,
    found: list[Body],
) -> None:
    """Appends the body that consists of some operations, and those of the loops inside."""
    at, constant, changing = len(found), 0, set(changing)
    counts: collections.Counter[str] = collections.Counter()
    dots: collections.Counter[str] = collections.Counter()
    host: list[str] = []
    for entry in _with_conditions(entries):
        op, kind = entry.op, _name(entry.op)
        varies = not changing.isdisjoint(entry.reads)
        if varies:
            changing |= set(entry.results)
        if kind == "while":
            _append(entry.inside, entry.changing, _origin(op), depth + 1, _turns(op), found)
            continue
        counts[kind] += 1
        constant += not varies and kind not in _FREE and depth > 0
        if kind == "dot_general":
            dots[_dot(op)] += 1
        target = op.attributes["call_target_name"].value if kind == "custom_call" else kind
        if any(word in target for word in _HOST):
            host.append(target)
    body = Body(
        name,
        depth,
        turns,
        sum(number for kind, number in counts.items() if kind not in _FREE),
        constant,
        dict(dots),
        *(
            sum(counts[kind] for kind in kinds)
            for kinds in (_READS, _WRITES, _SLICES, _UPDATES, _REDUCTIONS)
        ),
        tuple(host),
    )
    found.insert(at, body)


def _with_conditions(entries: list[_Entry]) -> Iterator[_Entry]:
    for entry in entries:
        yield entry
        if _name(entry.op) in ("case", "if"):
            yield from _with_conditions(entry.inside)


def _name(op: ir.Operation) -> str:
    return op.operation.name.rpartition(".")[2]


def _origin(op: ir.Operation) -> str:
    """Returns the path that JAX gives an operation, e.g. ``jit(step)/encoder/layer_0/while``."""
    quoted = str(op.location).split('"')
    return next((text for text in quoted[1::2] if text.endswith("while")), "")


def _dot(op: ir.Operation) -> str:
    """Returns dtypes and sizes ``[batch, rows, contracted, columns]`` of a matrix product."""
    left, right, out = (ir.RankedTensorType(value.type) for value in (*op.operands, op.results[0]))
    batch, contracted = (
        math.prod(left.shape[axis] for axis in _axes(op, f"lhs_{kind}_dimensions"))
        for kind in ("batching", "contracting")
    )
    rows, columns = (math.prod(side.shape) // batch // contracted for side in (left, right))
    sizes = [batch] * (batch > 1) + [rows, contracted, columns]
    precision = " at highest precision" if "HIGHEST" in str(op.attributes) else ""
    return f"{left.element_type} x {right.element_type} -> {out.element_type} {sizes}{precision}"


def _axes(op: ir.Operation, field: str) -> list[int]:
    text = str(op.attributes["dot_dimension_numbers"])
    listed = text.partition(f"{field} = [")[2].partition("]")[0]
    return [int(axis) for axis in listed.split(",") if axis.strip()]


def _turns(loop: ir.Operation) -> int | None:
    """Returns the constant with which the condition compares, if it does nothing else."""
    condition = [op for op in loop.regions[0].blocks[0].operations if _name(op) != "constant"]
    if [_name(op) for op in condition] != ["compare", "return"]:
        return None
    for value in condition[0].operands:
        owner = value.owner
        if isinstance(owner, ir.Operation | ir.OpView) and _name(owner) == "constant":
            return int(ir.DenseIntElementsAttr(owner.attributes["value"])[0])
    return None
