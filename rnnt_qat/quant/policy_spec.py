"""Policies as data: the form that configs, command lines and model directories store.

The data name the chip of each layer and the fields in which it differs from the ready-made chip.
``quant.grammar`` parses them from one line of text, ``str`` prints that line, and
``quant.policies`` builds the arithmetic.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rnnt_qat.accelerators.design import FIELDS, FieldValues, Value

FLOAT, MATMUL = "float32", "matmul"
"""Bases that are not chips: floating point, and integer matrix products alone."""

OBSERVER = "observer"
"""Field of every base that has formats: the method that calibrates the ranges of its layers."""

OBSERVERS = ("max", "moving_average", "percentile", "mse")
MATMUL_FIELDS = {
    "weights.bits": FieldValues(integers=(2, 8)),
    "activations.bits": FieldValues(integers=(2, 16)),
    OBSERVER: FieldValues(OBSERVERS),
}
CHIP_FIELDS = {**FIELDS, OBSERVER: FieldValues(OBSERVERS)}

_SHORT = ("weights.bits", "activations.bits")
"""Fields that are written without ``.bits``."""

ALIASES = {"encoder_w4_joint_w8": "w8a8[encoder/*:weights=4]"}
"""Names of policies whose rules differ by layer."""

_MATMUL_NAME = re.compile(r"w([2-8])a([2-9]|1[0-6])")
_CHIP_NAME = re.compile(r"(.+)_w([2-8])")


def fields_of(base: str) -> dict[str, FieldValues]:
    """Returns the fields of a base by name, in canonical order."""
    return {FLOAT: {}, MATMUL: MATMUL_FIELDS}.get(base, CHIP_FIELDS)


def printed_field(name: str) -> str:
    """Returns the written form of a field name."""
    return name.removesuffix(".bits") if name in _SHORT else name


@dataclass(frozen=True)
class Change:
    """The value of one field.

    Attributes:
      field: name of the field, a key of ``fields_of``.
      value: a value that the field accepts.
    """

    field: str
    value: Value

    def __str__(self) -> str:
        """Returns ``field=value``."""
        return f"{printed_field(self.field)}={self.value}"


@dataclass(frozen=True)
class PrecisionSpec:
    """The arithmetic of a layer.

    Attributes:
      base: ``float32``, ``matmul`` or the name of a chip.
      changes: the fields that differ from the base, each once, in the order of ``fields_of``.
    """

    base: str
    changes: tuple[Change, ...] = ()

    def __post_init__(self):
        """Rejects forms that are not canonical."""
        order = list(fields_of(self.base))
        found = [change.field for change in self.changes]
        unknown = [field for field in found if field not in order]
        if unknown:
            raise ValueError(f"PrecisionSpec.changes: {self.base} has no field {unknown[0]!r}")
        if found != sorted(set(found), key=order.index):
            raise ValueError(f"PrecisionSpec.changes: {found} are not in order, each once")

    @property
    def values(self) -> dict[str, Value]:
        """The changed fields by name."""
        return {change.field: change.value for change in self.changes}

    def changed(self, changes: Iterable[Change]) -> "PrecisionSpec":
        """Returns the precision with further changes, which override earlier ones."""
        values = self.values | {change.field: change.value for change in changes}
        return precision(self.base, values)

    def __str__(self) -> str:
        """Returns the shortest line: a ready-made name if there is one."""
        values = self.values
        if self.base == MATMUL:
            name = f"w{values.pop('weights.bits', 8)}a{values.pop('activations.bits', 8)}"
        elif values.keys() == {"weights.bits"}:
            name = f"{self.base}_w{values.pop('weights.bits')}"
        else:
            name = self.base
        return name + braced(Change(*item) for item in values.items())


def precision(base: str, values: dict[str, Value]) -> PrecisionSpec:
    """Creates a precision from fields by name, in canonical order.

    Args:
      base: ``float32``, ``matmul`` or the name of a chip.
      values: changed fields by name. For ``matmul`` both widths default to 8.

    Raises:
      ValueError: the base has no such field.
    """
    if base == MATMUL:
        values = {"weights.bits": 8, "activations.bits": 8, **values}
    order = [field for field in fields_of(base) if field in values]
    unknown = values.keys() - set(order)
    if unknown:
        raise ValueError(f"{base} has no field {min(unknown)!r}")
    return PrecisionSpec(base, tuple(Change(field, values[field]) for field in order))


def named_precision(name: str) -> PrecisionSpec:
    """Returns the precision that ``w4a8``, ``CHIP`` or ``CHIP_w4`` names.

    It does not check that the chip exists.
    """
    widths = _MATMUL_NAME.fullmatch(name)
    if widths:
        weights, activations = map(int, widths.groups())
        return precision(MATMUL, {"weights.bits": weights, "activations.bits": activations})
    narrow = _CHIP_NAME.fullmatch(name)
    if narrow:
        return precision(narrow[1], {"weights.bits": int(narrow[2])})
    return precision(name, {})


@dataclass(frozen=True)
class RuleSpec:
    """The arithmetic of the layers that match a pattern.

    Attributes:
      pattern: shell pattern over module paths, e.g. ``encoder/lstm_*``.
      precision: arithmetic of the matching layers.
    """

    pattern: str
    precision: PrecisionSpec


@dataclass(frozen=True)
class PolicySpec:
    """The arithmetic of a model.

    Attributes:
      default: arithmetic of the layers that no rule matches.
      rules: arithmetic of other layers; the first match wins.
      part: the only component that is quantized (``quant.ablation``); empty for the whole model.
      observer: calibration method where the precision names none; empty for ``max``.
      slope: gradient of sigmoid and tanh, ``unit_slope``; empty for that of the exact function.
      ranges: method that trains the ranges, ``tqt`` or ``lsq``; empty if they are not trained.
    """

    default: PrecisionSpec
    rules: tuple[RuleSpec, ...] = ()
    part: str = ""
    observer: str = ""
    slope: str = ""
    ranges: str = ""

    def __str__(self) -> str:
        """Returns the line that ``quant.grammar`` parses to this policy."""
        rules = ", ".join(f"{rule.pattern}:{self._body(rule.precision)}" for rule in self.rules)
        text = f"{self.default}[{rules}]" if rules else str(self.default)
        text = next((name for name, line in ALIASES.items() if line == text), text)
        if self.part:
            text += f"@{self.part}"
        return text + "".join(f"+{s}" for s in (self.observer, self.slope, self.ranges) if s)

    def _body(self, found: PrecisionSpec) -> str:
        """Returns a rule's changes to the default, or its whole precision if there are none."""
        default = self.default.values
        differing = [c for c in found.changes if default.get(c.field) != c.value]
        if found.base != self.default.base or not differing or default.keys() - found.values.keys():
            return str(found)
        return str(differing[0]) if len(differing) == 1 else braced(differing)


def braced(changes: Iterable[Change]) -> str:
    """Returns ``{field=value, ...}``, or an empty string without changes."""
    listed = ", ".join(map(str, changes))
    return f"{{{listed}}}" if listed else ""
