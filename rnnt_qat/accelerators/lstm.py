"""One LSTM step in a chip's integers, composed of its operators."""

from dataclasses import dataclass

import jax.numpy as jnp

from rnnt_qat.accelerators import kernels
from rnnt_qat.accelerators.kernels import Scale, Stored, accumulate
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec
from rnnt_qat.fixedpoint.requantize import Sum
from rnnt_qat.typing import Array, Int


@dataclass(frozen=True)
class LstmParameters:
    """An LSTM layer in integers; gates in order i, f, g, o along the last axis.

    Attributes:
      input_kernel: int8.
      recurrent_kernel: int8.
      bias: at scale ``input_scale * input_kernel_scale``; int32, or ``Wide`` past 32 bits.
      input_scale: of the inputs.
      hidden_scale: of the hidden state.
      input_kernel_scale: a scalar or one a column.
      recurrent_kernel_scale: a scalar or one a column.
    """

    input_kernel: Int[Array, "D 4H"]
    recurrent_kernel: Int[Array, "H 4H"]
    bias: Sum
    input_scale: Scale
    hidden_scale: Scale
    input_kernel_scale: Scale
    recurrent_kernel_scale: Scale


def lstm_step(
    spec: AcceleratorSpec,
    parameters: LstmParameters,
    x: Int[Array, "B D"],
    hidden: Int[Array, "B H"],
    cell: Int[Array, "B H"],
) -> tuple[Int[Array, "B H"], Int[Array, "B H"]]:
    """New hidden and cell state, int32.

    On ``ethos_u_8x8_16`` this is LiteRT's fused UNIDIRECTIONAL_SEQUENCE_LSTM, on ``ethos_u_16x8``
    its FULLY_CONNECTED, ADD, LOGISTIC, TANH and MUL one after the other.
    """
    p = parameters
    pre_format, cell_format, gate_format = (
        spec.tensor(role).format for role in (Role.GATE_PRE, Role.CELL, Role.GATE)
    )
    pre_scale, cell_scale, gate_scale = pre_format.scale, cell_format.scale, gate_format.scale
    projected = accumulate(
        spec, Stored(x, p.input_scale), Stored(p.input_kernel, p.input_kernel_scale), p.bias
    )
    pre_x = Stored(kernels.store(spec, projected, Role.GATE_PRE, pre_scale), pre_scale)
    recurrent = accumulate(
        spec,
        Stored(hidden, p.hidden_scale),
        Stored(p.recurrent_kernel, p.recurrent_kernel_scale),
    )
    pre = kernels.add(spec, pre_x, recurrent, Role.GATE_PRE, pre_scale)
    pre_i, pre_f, pre_g, pre_o = jnp.split(pre, 4, axis=-1)

    def sigmoid(gate):
        y = kernels.sigmoid(spec, gate, pre_format.fixed_frac_bits, Role.GATE)
        return Stored(y, gate_scale)

    def tanh(x, frac_bits):
        return Stored(kernels.tanh(spec, x, frac_bits, Role.GATE), gate_scale)

    def to_cell(a, b):
        return Stored(kernels.mul(spec, a, b, Role.CELL, cell_scale), cell_scale)

    kept = to_cell(sigmoid(pre_f), Stored(cell.astype(jnp.int32), cell_scale))
    written = to_cell(sigmoid(pre_i), tanh(pre_g, pre_format.fixed_frac_bits))
    new_cell = kernels.add(spec, kept, written, Role.CELL, cell_scale)
    squashed = tanh(new_cell, cell_format.fixed_frac_bits)
    new_hidden = kernels.mul(spec, sigmoid(pre_o), squashed, Role.HIDDEN, p.hidden_scale)
    return new_hidden, new_cell
