"""The arithmetic of a neural network accelerator as frozen, validated configuration."""

import enum
from dataclasses import dataclass, field, replace

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.fixedpoint.activation import Activation
from rnnt_qat.fixedpoint.dot import Accumulator
from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.fixedpoint.requantize import (
    Rescale,
    ShiftRescale,
    SingleRoundingRescale,
    TosaShiftRescale,
)
from rnnt_qat.fixedpoint.rounding import Rounding
from rnnt_qat.fixedpoint.saturation import Overflow


class Operator(enum.Enum):
    """Operators that a recognizer needs; the CPU computes those that a chip lacks."""

    DOT = "dot"
    ADD = "add"
    MUL = "mul"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    LOOKUP = "lookup"
    """Rows of an embedding table."""
    ARGMAX = "argmax"
    LAYER_NORM = "layer_norm"
    """Normalization of each frame to mean 0 and variance 1; few chips have it."""


COMMON_OPERATORS = frozenset(Operator) - {Operator.LAYER_NORM}
"""What recognizers of plain recurrent layers need."""


class AddGrid(enum.Enum):
    """The grid on which addends of different power-of-two scales are added."""

    RESULT = "result"
    """Each addend is rounded to the result's grid (LiteRT's int16 ADD with pot_scale_int16)."""
    FINEST = "finest"
    """The coarser addend is shifted left by 19 bits (8-bit formats) or 14 bits (16-bit formats).

    Addends finer than this grid are rounded to it, and the sum is rounded twice on its way to the
    result (LiteRT's ADD in all other cases). Otherwise addends add up exactly.
    """


class Grain(enum.Enum):
    """The number of scales of a kernel."""

    TENSOR = "tensor"
    """One scale."""
    GATE = "gate"
    """One scale per gate for the kernels of an LSTM, as in LiteRT's LSTM; one scale for others."""
    CHANNEL = "channel"
    """One scale per output channel."""


@dataclass(frozen=True)
class TensorSpec:
    """Storage and arithmetic of the tensors of one role.

    Attributes:
      role: the role.
      format: integer format; ``frac_bits=None`` leaves the scale to calibration.
      power_of_two: whether a calibrated scale is rounded up to a power of two.
      grain: for weights only, the number of scales.
      scale_bits: significant bits of a calibrated scale that is not a power of two, at most 24.
      rescale: conversion of an accumulator or a product to this format.
      sigmoid: the logistic unit that writes this role.
      tanh: the tanh unit that writes this role.
    """

    role: Role
    format: QFormat
    power_of_two: bool = True
    grain: Grain = Grain.TENSOR
    scale_bits: int = 24
    rescale: Rescale | None = None
    sigmoid: Activation | None = None
    tanh: Activation | None = None

    @property
    def calibrated(self) -> bool:
        """Whether calibration determines the scale."""
        return self.format.frac_bits is None


DEFAULT_MOVE = ShiftRescale()
OPERANDS = (Role.INPUT, Role.HIDDEN, Role.PROJECTED, Role.JOINT_HIDDEN)
WRITTEN_BY_DOT = (Role.GATE_PRE, Role.PROJECTED, Role.PROJECTION, Role.LOGITS)
WRITTEN_BY_MUL = (Role.CELL, Role.MEMORY, Role.HIDDEN)
WRITTEN_BY_NORM = (Role.NORMALIZED,)
ADDENDS = (Role.GATE_PRE, Role.CELL, Role.MEMORY, Role.PROJECTION, Role.JOINT_PRE)
SIGMOID_READS = {Role.GATE: (Role.GATE_PRE,)}
TANH_READS = {Role.GATE: (Role.GATE_PRE, Role.CELL), Role.JOINT_HIDDEN: (Role.JOINT_PRE,)}


def _entry(role: Role) -> Role:
    """Returns the role under which a chip lists a role: kernels share one entry."""
    return Role.WEIGHT if role.is_kernel else role


@dataclass(frozen=True)
class AcceleratorSpec:
    """The arithmetic of one accelerator.

    Attributes:
      name: short name, as in configs.
      description: the hardware or library that computes this, and the source.
      tensors: one entry per role. A chip may lack roles: ``QuantizedModule.operators`` rejects a
        layer with a site that the chip cannot hold.
      operators: operators that the chip computes itself.
      accumulator: accumulator of matrix products.
      bias_bits: width of a bias, stored at the accumulator's scale.
      overflow: overflow behaviour of all other results.
      move_rescale: rescaling of a stored tensor to another scale (QUANTIZE).
      add_grid: grid on which addends of different scales are added.
      add_rounding: rounding of addends or sums to the grid of the result.
      fused_gate_sum: whether the recurrent product is added to the gate pre-activation before its
        range is limited (one operator does both); otherwise it is stored first (two operators).
      double_ratios: whether the ratio of an accumulator's scale to that of its result is formed in
        float64 instead of float32. Such a chip computes under ``jax.enable_x64`` alone.
    """

    name: str
    description: str
    tensors: tuple[TensorSpec, ...]
    operators: frozenset[Operator] = COMMON_OPERATORS
    accumulator: Accumulator = field(default_factory=Accumulator)
    bias_bits: int = 32
    overflow: Overflow = Overflow.SATURATE
    move_rescale: Rescale = DEFAULT_MOVE
    add_grid: AddGrid = AddGrid.RESULT
    add_rounding: Rounding = Rounding.AWAY
    fused_gate_sum: bool = False
    double_ratios: bool = False

    def __post_init__(self):
        """Rejects combinations that no chip can compute; the error names the field."""
        roles = [tensor.role for tensor in self.tensors]
        doubled = sorted({role.name for role in roles if roles.count(role) > 1})
        if doubled or Role.WEIGHT not in roles:
            self._refuse(
                "tensors", f"a role has one entry, WEIGHT must have one; doubled: {doubled}"
            )
        for tensor in self.tensors:
            self._check_tensor(tensor)
        self._check_products()
        self._check_additions()
        self._check_activations()

    def holds(self, role: Role) -> bool:
        """Returns whether the chip has a format for a role."""
        return any(tensor.role is _entry(role) for tensor in self.tensors)

    def tensor(self, role: Role) -> TensorSpec:
        """Returns the entry of a role.

        Raises:
          ValueError: the chip has none.
        """
        for tensor in self.tensors:
            if tensor.role is _entry(role):
                return tensor
        raise ValueError(f"{self.name} holds no tensors of role {role.name}")

    def with_weight_bits(self, bits: int) -> "AcceleratorSpec":
        """Returns the chip with kernels on a coarser grid, which its 8-bit weights can hold."""
        weight = self.tensor(Role.WEIGHT)
        narrowed = replace(weight, format=replace(weight.format, bits=bits))
        tensors = tuple(narrowed if t.role is Role.WEIGHT else t for t in self.tensors)
        return replace(self, name=f"{self.name}_w{bits}", tensors=tensors)

    def _refuse(self, field_name: str, reason: str):
        raise ValueError(f"AcceleratorSpec {self.name!r}: {field_name}: {reason}")

    def _check_tensor(self, tensor: TensorSpec):
        where = f"tensors[{tensor.role.name}]"
        if tensor.format.bits > 16:
            self._refuse(f"{where}.format", f"{tensor.format.bits} bits; tensors have up to 16")
        if tensor.grain is not Grain.TENSOR and not tensor.role.is_kernel:
            self._refuse(f"{where}.grain", "only weights have more than one scale")
        if not 2 <= tensor.scale_bits <= 24:
            self._refuse(f"{where}.scale_bits", f"{tensor.scale_bits} is not in 2..24 (float32)")

    def _check_products(self):
        weight = self.tensor(Role.WEIGHT).format
        if weight.bits > 8:
            self._refuse("tensors[WEIGHT].format", f"{weight.bits} bits; weights have up to 8")
        operands = tuple(filter(self.holds, OPERANDS))
        widest = max((self.tensor(role).format.bits for role in operands), default=2)
        if self.accumulator.bits < widest + weight.bits - 1:
            self._refuse(
                "accumulator.bits",
                f"{self.accumulator.bits} cannot hold a product of {widest} by {weight.bits} bits",
            )
        if widest > 8 and self.accumulator.bits <= 32:
            self._refuse(
                "accumulator.bits",
                f"{self.accumulator.bits}: {widest}-bit operands need an accumulator of 33 to 48",
            )
        if self.bias_bits > self.accumulator.bits:
            self._refuse("bias_bits", f"{self.bias_bits} exceeds the accumulator")
        for role in filter(self.holds, (*WRITTEN_BY_DOT, *WRITTEN_BY_MUL, *WRITTEN_BY_NORM)):
            where, rescale = f"tensors[{role.name}].rescale", self.tensor(role).rescale
            if rescale is None:
                self._refuse(where, "missing: wide results are written to this role")
            if role in WRITTEN_BY_DOT and self.accumulator.bits > 32:
                narrow = isinstance(rescale, SingleRoundingRescale) and rescale.bits <= 16
                if not (narrow or isinstance(rescale, ShiftRescale)):
                    self._refuse(where, "accumulators past 32 bits take a multiplier of <= 16 bits")
            if isinstance(rescale, ShiftRescale | TosaShiftRescale):
                read = (Role.WEIGHT, *operands) if role in WRITTEN_BY_DOT else ()
                for other in (role, *read):
                    if not self._is_power_of_two(other):
                        self._refuse(
                            where, f"shifts only, but {other.name}'s scale is not a power of two"
                        )

    def _check_additions(self):
        for role in filter(self.holds, ADDENDS):
            if not self._is_power_of_two(role):
                self._refuse(f"tensors[{role.name}].power_of_two", "addends meet by shifting")

    def _check_activations(self):
        for unit_name, reads in (("sigmoid", SIGMOID_READS), ("tanh", TANH_READS)):
            for role, inputs in reads.items():
                if not self.holds(role):
                    continue
                tensor = self.tensor(role)
                where = f"tensors[{role.name}].{unit_name}"
                unit: Activation | None = getattr(tensor, unit_name)
                if unit is None:
                    if Operator(unit_name) in self.operators:
                        self._refuse(where, "missing, but the chip has the operator")
                    continue
                if unit.output != tensor.format:
                    self._refuse(where, f"writes {unit.output}, the role holds {tensor.format}")
                for read in filter(self.holds, inputs):
                    self._check_unit_input(where, unit, read)

    def _check_unit_input(self, where: str, unit: Activation, read: Role):
        qformat = self.tensor(read).format
        try:
            unit.check_input(qformat)
        except ValueError as error:
            self._refuse(where, f"cannot read {read.name}: {error}")

    def _is_power_of_two(self, role: Role) -> bool:
        tensor = self.tensor(role)
        return tensor.power_of_two or not tensor.calibrated
