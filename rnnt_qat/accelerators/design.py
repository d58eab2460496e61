"""The fields of a chip that a policy may change, by name: the design space around a specification.

A field is ``TENSOR.FIELD``, where the tensor is a role or a group of roles, or a property of the
whole chip, e.g. ``cell.bits``, ``gate.unit``, ``accumulator.tile``, ``rounding``. General fields
are applied before specific ones (chip, group, role), so the order of the written changes does not
matter. A format whose width changes keeps its range, and whatever depends on formats (units, the
width of a bias) is adapted. ``AcceleratorSpec`` rejects combinations that no chip can compute.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import (
    SIGMOID_READS,
    TANH_READS,
    WRITTEN_BY_DOT,
    WRITTEN_BY_MUL,
    WRITTEN_BY_NORM,
    AcceleratorSpec,
    AddGrid,
    Grain,
    TensorSpec,
)
from rnnt_qat.accelerators.units import UNIT_NAMES, fitted_unit, is_unit_name, named_unit
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.dot import Accumulator
from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.fixedpoint.requantize import (
    DoubleRoundingRescale,
    Rescale,
    ShiftRescale,
    SingleRoundingRescale,
)
from rnnt_qat.fixedpoint.rounding import Rounding
from rnnt_qat.fixedpoint.saturation import Overflow

Value = int | str
"""A value of a field, as it is written."""

GROUPS = {
    "weights": frozenset({Role.WEIGHT, Role.GATE_WEIGHT}),
    "activations": frozenset(
        {
            *(Role.INPUT, Role.NORMALIZED, Role.PROJECTION),
            *(Role.JOINT_PRE, Role.JOINT_HIDDEN, Role.LOGITS),
        }
    ),
    "gates": frozenset({Role.GATE_PRE, Role.GATE}),
    "state": frozenset({Role.CELL, Role.MEMORY, Role.HIDDEN, Role.PROJECTED}),
}
"""Roles by purpose; every role is in one group."""

TENSORS = GROUPS | {role.value: frozenset({role}) for role in Role if not role.is_kernel}
"""Names of tensors in fields, groups first."""

_ROUNDINGS = {
    "away": Rounding.AWAY,
    "even": Rounding.EVEN,
    "up": Rounding.UP,
    "truncate": Rounding.TRUNCATE,
}
_OVERFLOWS = {overflow.value: overflow for overflow in Overflow}
_GRIDS = {grid.value: grid for grid in AddGrid}
_GRAINS = {grain.value: grain for grain in Grain}
_SCALES = {"power_of_two": True, "free": False}
_YES = {"yes": True, "no": False}
_WHOLE = "whole"
"""Value of ``accumulator.tile`` for a tile of the whole sum."""


@dataclass(frozen=True)
class FieldValues:
    """The values that a field accepts.

    Attributes:
      words: accepted words.
      integers: smallest and largest accepted number; None if numbers are not accepted.
      admits: whether a further word is accepted, e.g. ``table256``.
    """

    words: tuple[str, ...] = ()
    integers: tuple[int, int] | None = None
    admits: Callable[[str], bool] = lambda word: False

    def read(self, word: str) -> Value:
        """Returns the value of a word.

        Raises:
          ValueError: the field does not accept it; lists the accepted values.
        """
        if self.integers and word.isdecimal():
            smallest, largest = self.integers
            if smallest <= int(word) <= largest:
                return int(word)
        elif word in self.words or self.admits(word):
            return word
        raise ValueError(f"it takes {self}")

    def __str__(self) -> str:
        """Returns the accepted values for error messages."""
        numbers = [f"{self.integers[0]} to {self.integers[1]}"] if self.integers else []
        return ", ".join([*numbers, *self.words])


_RESCALES = FieldValues(
    ("shift", "doubling", "multiplier16", "multiplier24"),
    admits=lambda word: word.startswith("multiplier") and word[10:].isdecimal(),
)
_UNITS = FieldValues(UNIT_NAMES, admits=is_unit_name)

_EVERY_TENSOR = ("rounding", "rescale")
"""Fields of the chip that set the field of the same name of every tensor."""

_CHIP_FIELDS = {
    "rounding": FieldValues(tuple(_ROUNDINGS)),
    "rescale": _RESCALES,
    "overflow": FieldValues(tuple(_OVERFLOWS)),
    "accumulator.bits": FieldValues(integers=(8, 48)),
    "accumulator.overflow": FieldValues(tuple(_OVERFLOWS)),
    "accumulator.tile": FieldValues((_WHOLE,), (1, 2**20)),
    "bias.bits": FieldValues(integers=(8, 48)),
    "add.grid": FieldValues(tuple(_GRIDS)),
    "add.rounding": FieldValues(tuple(_ROUNDINGS)),
    "add.fused": FieldValues(tuple(_YES)),
    "move.rescale": _RESCALES,
}

_TENSOR_FIELDS: dict[str, tuple[FieldValues, Callable[[Role], bool]]] = {
    "bits": (FieldValues(integers=(2, 16)), lambda role: True),
    "frac": (FieldValues(("calibrated",), (0, 28)), lambda role: role is not Role.WEIGHT),
    "scale": (FieldValues(tuple(_SCALES)), lambda role: True),
    "scale_bits": (FieldValues(integers=(2, 24)), lambda role: True),
    "grain": (FieldValues(tuple(_GRAINS)), lambda role: role.is_kernel),
    "rescale": (
        _RESCALES,
        lambda role: role in (*WRITTEN_BY_DOT, *WRITTEN_BY_MUL, *WRITTEN_BY_NORM),
    ),
    "rounding": (FieldValues(tuple(_ROUNDINGS)), lambda role: role is not Role.WEIGHT),
    "unit": (_UNITS, lambda role: role in SIGMOID_READS or role in TANH_READS),
    "sigmoid": (_UNITS, lambda role: role in SIGMOID_READS),
    "tanh": (_UNITS, lambda role: role in TANH_READS),
}
"""Fields of a tensor: their values, and a predicate for the roles that have them."""

FIELDS: dict[str, FieldValues] = _CHIP_FIELDS | {
    f"{tensor}.{field}": values
    for tensor, roles in TENSORS.items()
    for field, (values, has) in _TENSOR_FIELDS.items()
    if any(map(has, roles))
}
FIELDS["weights.bits"] = FieldValues(integers=(2, 8))
"""All fields by name, in the order in which they are applied."""


def changed_chip(spec: AcceleratorSpec, changes: Mapping[str, Value], name: str) -> AcceleratorSpec:
    """Returns a chip with changed fields.

    Args:
      spec: the chip.
      changes: values by field name (``FIELDS``).
      name: name of the resulting chip. It is not used if nothing changes or if the result is the
        chip with narrower kernels (``AcceleratorSpec.with_weight_bits``).

    Raises:
      ValueError: no chip can have the changed field; names it.
    """
    tensors = {tensor.role: tensor for tensor in spec.tensors}
    chip = _changed_chip_fields(spec, changes)
    for field in (field for field in FIELDS if field in changes):
        owner, _, kind = field.rpartition(".")
        if owner in TENSORS and not TENSORS[owner] & tensors.keys():
            raise ValueError(f"{field}: {spec.name} holds no such tensors")
        for role in TENSORS.get(owner, tensors.keys() if field in _EVERY_TENSOR else ()):
            if role in tensors and _TENSOR_FIELDS[kind][1](role):
                tensors[role] = _changed_tensor(tensors[role], kind, changes[field])
    for role, tensor in tensors.items():
        _check_range(role, tensor.format)
    fitted = tuple(_with_fitted_units(tensor, tensors) for tensor in tensors.values())
    found = replace(spec, tensors=fitted, **chip)
    if found == spec:
        return spec
    narrowed = spec.with_weight_bits(found.tensor(Role.WEIGHT).format.bits)
    return narrowed if replace(found, name=narrowed.name) == narrowed else replace(found, name=name)


def _changed_chip_fields(spec: AcceleratorSpec, changes: Mapping[str, Value]) -> dict[str, Any]:
    """Returns the arguments of ``replace`` that do not belong to a tensor."""
    tile = changes.get("accumulator.tile", spec.accumulator.tile or _WHOLE)
    accumulator = Accumulator(
        bits=int(changes.get("accumulator.bits", spec.accumulator.bits)),
        overflow=Overflow(changes.get("accumulator.overflow", spec.accumulator.overflow.value)),
        tile=None if tile == _WHOLE else int(tile),
    )
    move = spec.move_rescale
    for field in ("rescale", "move.rescale"):
        if field in changes:
            move = _rescale(str(changes[field]), move.rounding)
    if "rounding" in changes:
        move = replace(move, rounding=_ROUNDINGS[str(changes["rounding"])])
    found: dict[str, Any] = {
        "accumulator": accumulator,
        "move_rescale": move,
        # The accumulator holds the bias, so it bounds its width.
        "bias_bits": changes.get("bias.bits", min(spec.bias_bits, accumulator.bits)),
    }
    named: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
        ("overflow", "overflow", _OVERFLOWS),
        ("add.grid", "add_grid", _GRIDS),
        ("rounding", "add_rounding", _ROUNDINGS),
        ("add.rounding", "add_rounding", _ROUNDINGS),
        ("add.fused", "fused_gate_sum", _YES),
    )
    for field, argument, values in named:
        if field in changes:
            found[argument] = values[str(changes[field])]
    return found


def _changed_tensor(tensor: TensorSpec, kind: str, value: Value) -> TensorSpec:
    """Returns a tensor's entry with one field changed; its units are not fitted yet."""
    qformat = tensor.format
    if kind == "bits":
        bits = int(value)
        fixed = qformat.frac_bits is not None
        frac_bits = bits - 1 - qformat.integer_bits if fixed else None
        return replace(tensor, format=replace(qformat, bits=bits, frac_bits=frac_bits))
    if kind == "frac":
        frac_bits = None if value == "calibrated" else int(value)
        return replace(tensor, format=replace(qformat, frac_bits=frac_bits))
    if kind == "scale":
        return replace(tensor, power_of_two=_SCALES[str(value)])
    if kind == "grain":
        return replace(tensor, grain=_GRAINS[str(value)])
    if kind == "scale_bits":
        return replace(tensor, scale_bits=int(value))
    if kind == "rescale":
        rounding = tensor.rescale.rounding if tensor.rescale else Rounding.AWAY
        return replace(tensor, rescale=_rescale(str(value), rounding))
    if kind == "rounding":
        return _rounded(tensor, _ROUNDINGS[str(value)])
    units = ("sigmoid", "tanh") if kind == "unit" else (kind,)
    made: dict[str, Any] = {}
    for name in units:
        former = getattr(tensor, name)
        if former is not None:
            unit: Any = named_unit(str(value), Function(name), qformat)
            if hasattr(former, "rounding") and hasattr(unit, "rounding"):
                unit = replace(unit, rounding=former.rounding)
            made[name] = unit
    return replace(tensor, **made)


def _rescale(name: str, rounding: Rounding) -> Rescale:
    if name == "shift":
        return ShiftRescale(rounding)
    if name == "doubling":
        return DoubleRoundingRescale(rounding)
    return SingleRoundingRescale(int(name.removeprefix("multiplier")), rounding)


def _rounded(tensor: TensorSpec, rounding: Rounding) -> TensorSpec:
    """Returns a tensor whose rescale and units round in the given way, if they have a choice.

    LiteRT's units have a fixed rounding and stay unchanged.
    """
    changed: dict[str, Any] = {
        name: replace(part, rounding=rounding)
        for name in ("rescale", "sigmoid", "tanh")
        for part in [getattr(tensor, name)]
        if part is not None and hasattr(part, "rounding")
    }
    return replace(tensor, **changed)


def _check_range(role: Role, qformat: QFormat) -> None:
    """Raises ValueError for a format without any step in its range."""
    if qformat.frac_bits is not None and qformat.frac_bits < 0:
        raise ValueError(
            f"{role.value}.bits={qformat.bits}: too few for a range of +-2^{qformat.integer_bits}; "
            f"set {role.value}.frac too"
        )


def _with_fitted_units(tensor: TensorSpec, tensors: Mapping[Role, TensorSpec]) -> TensorSpec:
    """Returns a tensor whose units read and write the current formats."""
    fitted: dict[str, Any] = {}
    for name, reads in (("sigmoid", SIGMOID_READS), ("tanh", TANH_READS)):
        unit = getattr(tensor, name)
        if unit is not None:
            read = [tensors[role].format for role in reads.get(tensor.role, ()) if role in tensors]
            fitted[name] = fitted_unit(unit, tensor.format, read)
    return replace(tensor, **fitted)
