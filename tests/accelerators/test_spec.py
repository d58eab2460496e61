from dataclasses import replace

import pytest

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_8x8_16_tflm import ETHOS_U_8X8_16_TFLM
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.accelerators.generic_nna_crude import GENERIC_NNA_CRUDE
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import Grain, Operator
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.dot import Accumulator
from rnnt_qat.fixedpoint.gemmlowp import GemmlowpActivation
from rnnt_qat.fixedpoint.interpolated_table import InterpolatedTable
from rnnt_qat.fixedpoint.qformat import Q0_7, Q0_15, QFormat
from rnnt_qat.fixedpoint.requantize import DoubleRoundingRescale, ShiftRescale

CHIPS = [GENERIC_NNA, GENERIC_NNA_CRUDE, ETHOS_U_8X8_16, ETHOS_U_8X8_16_TFLM, ETHOS_U_16X8]


@pytest.mark.parametrize("spec", CHIPS, ids=lambda s: s.name)
def test_a_chip_is_hashable_configuration_that_describes_itself(spec):
    assert replace(spec) == spec
    assert hash(replace(spec)) == hash(spec)
    assert len(spec.description) > 60
    optional = {Role.MEMORY, Role.PROJECTED, Role.NORMALIZED}  # only some cells ask for them
    assert {tensor.role for tensor in spec.tensors} | optional == set(Role) - {Role.GATE_WEIGHT}


def test_narrower_kernels_sit_on_the_same_chip():
    narrow = ETHOS_U_8X8_16.with_weight_bits(4)
    assert narrow.name == "ethos_u_8x8_16_w4"
    assert narrow.tensor(Role.WEIGHT).format == QFormat(4, narrow=True)
    assert narrow.tensor(Role.CELL) is ETHOS_U_8X8_16.tensor(Role.CELL)


def with_tensor(spec, role, **fields):
    tensors = tuple(replace(t, **fields) if t.role is role else t for t in spec.tensors)
    return replace(spec, tensors=tensors)


def without(spec, *roles):
    return replace(spec, tensors=tuple(t for t in spec.tensors if t.role not in roles))


IMPOSSIBLE = {
    "no weights": (
        lambda: without(GENERIC_NNA, Role.WEIGHT),
        r"generic_nna.*tensors: a role has one entry, WEIGHT must have one",
    ),
    "a role twice": (
        lambda: replace(GENERIC_NNA, tensors=(*GENERIC_NNA.tensors, GENERIC_NNA.tensors[0])),
        r"tensors: .*doubled: \['INPUT'\]",
    ),
    "a tensor of 24 bits": (
        lambda: with_tensor(GENERIC_NNA, Role.LOGITS, format=QFormat(24)),
        r"tensors\[LOGITS\].format",
    ),
    "weights of 16 bits": (
        lambda: with_tensor(GENERIC_NNA, Role.WEIGHT, format=QFormat(16)),
        r"tensors\[WEIGHT\].format: 16 bits",
    ),
    "activations by channel": (
        lambda: with_tensor(GENERIC_NNA, Role.INPUT, grain=Grain.CHANNEL),
        r"tensors\[INPUT\].grain",
    ),
    "a scale finer than float32": (
        lambda: with_tensor(ETHOS_U_16X8, Role.WEIGHT, scale_bits=30),
        r"tensors\[WEIGHT\].scale_bits",
    ),
    "an accumulator narrower than a product": (
        lambda: replace(GENERIC_NNA, accumulator=Accumulator(bits=14), bias_bits=14),
        r"accumulator.bits: 14 cannot hold a product of 8 by 8 bits",
    ),
    "16-bit operands in 32 bits": (
        lambda: replace(ETHOS_U_16X8, accumulator=Accumulator(bits=32), bias_bits=32),
        r"accumulator.bits: 32: 16-bit operands",
    ),
    "a bias wider than the accumulator": (
        lambda: replace(GENERIC_NNA, accumulator=Accumulator(bits=24)),
        "bias_bits: 32 exceeds the accumulator",
    ),
    "products without a rescale": (
        lambda: with_tensor(GENERIC_NNA, Role.CELL, rescale=None),
        r"tensors\[CELL\].rescale: missing",
    ),
    "shifts with scales that are no powers of two": (
        lambda: with_tensor(GENERIC_NNA, Role.WEIGHT, power_of_two=False),
        r"tensors\[GATE_PRE\].rescale: shifts only, but WEIGHT",
    ),
    "a 31-bit multiplier of a 40-bit accumulator": (
        lambda: with_tensor(ETHOS_U_16X8, Role.LOGITS, rescale=DoubleRoundingRescale()),
        r"tensors\[LOGITS\].rescale: accumulators past 32 bits",
    ),
    "addends that cannot meet": (
        lambda: with_tensor(ETHOS_U_8X8_16, Role.JOINT_PRE, power_of_two=False),
        r"tensors\[JOINT_PRE\].power_of_two",
    ),
    "an operator without its unit": (
        lambda: with_tensor(GENERIC_NNA, Role.GATE, tanh=None),
        r"tensors\[GATE\].tanh: missing",
    ),
    "a unit of another format": (
        lambda: with_tensor(GENERIC_NNA, Role.GATE, format=Q0_7),
        r"tensors\[GATE\].sigmoid: writes Q0.15, the role holds Q0.7",
    ),
    "a table that cannot hold the format": (
        lambda: with_tensor(
            GENERIC_NNA, Role.GATE, sigmoid=InterpolatedTable(Function.SIGMOID, range_bits=2)
        ),
        r"tensors\[GATE\].sigmoid: cannot read GATE_PRE: the table ends at 2\^2",
    ),
    "a unit that cannot read the cell": (
        lambda: with_tensor(
            with_tensor(GENERIC_NNA, Role.CELL, format=QFormat(16, 5)),
            Role.GATE,
            tanh=GemmlowpActivation(Function.TANH),
        ),
        r"tensors\[GATE\].tanh: cannot read CELL",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_an_impossible_chip_is_refused_naming_the_field(case):
    make, message = IMPOSSIBLE[case]
    with pytest.raises(ValueError, match=message):
        make()


def test_a_chip_without_tanh_is_possible():
    tensors = tuple(
        replace(t, tanh=None) if t.role is Role.GATE else t for t in GENERIC_NNA.tensors
    )
    spec = replace(GENERIC_NNA, tensors=tensors, operators=frozenset(Operator) - {Operator.TANH})
    assert spec.tensor(Role.GATE).format == Q0_15
    assert isinstance(spec.move_rescale, ShiftRescale)


def test_a_chip_may_lack_what_a_model_never_asks_for():
    spec = without(GENERIC_NNA, Role.CELL, Role.HIDDEN, Role.GATE, Role.GATE_PRE, Role.PROJECTED)
    assert not spec.holds(Role.CELL)
    with pytest.raises(ValueError, match="generic_nna holds no tensors of role CELL"):
        spec.tensor(Role.CELL)
