"""Unidirectional LSTM layer."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from rnnt_qat.layers.cell_states import note_cells
from rnnt_qat.layers.lstm_scan import LSTMState, lstm_cell, lstm_scan
from rnnt_qat.layers.recurrent_layer import (
    RecurrentLayer,
    batch_major,
    before_each_step,
    gate_inputs,
    time_major,
)
from rnnt_qat.layers.temporal_gradient import FULL, TemporalGradient
from rnnt_qat.quant.diagnostics import recording, unrecorded
from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.sites import Role
from rnnt_qat.typing import Array, Bool, PRNGKey

LSTM_SITES = {
    "input": Role.INPUT,
    "input_kernel": Role.GATE_WEIGHT,
    "recurrent_kernel": Role.GATE_WEIGHT,
    "gate_input": Role.GATE_PRE,
    "gate_pre": Role.GATE_PRE,
    "gate": Role.GATE,
    "cell": Role.CELL,
    "cell_tanh": Role.GATE,
    "hidden": Role.HIDDEN,
}


def gate_bias(key: PRNGKey, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """Returns zeros, and one for the forget gate, so that a new cell keeps its state."""
    width = shape[0] // 4
    return jnp.zeros(shape, dtype).at[width : 2 * width].set(1.0)


class LSTM(RecurrentLayer):
    """LSTM that computes with the operators of its policy; a ``StreamingLayer``.

    The input projection of all frames is one product before the scan. There is one bias per gate,
    added in the accumulator of the input's product. No peepholes, projection or layer norm.

    Attributes:
      features: hidden width H.
      rematerialize: whether the backward pass recomputes the cells except for their products.
      gradient: paths through time that the gradient includes.
    """

    bias_blocks: ClassVar = {"recurrent_kernel": 0}

    features: int
    rematerialize: bool = False
    gradient: TemporalGradient = FULL

    def initial_state(self, batch_size: int) -> LSTMState:
        """Returns zeros in the chip's dtypes; requires a bound layer, whose precision is known."""
        shape = (batch_size, self.features)
        return LSTMState(
            hidden=jnp.zeros(shape, self.state_dtype(Role.HIDDEN)),
            cell=jnp.zeros(shape, self.state_dtype(Role.CELL)),
        )

    @nn.compact
    def __call__(
        self, xs: Value, mask: Bool[Array, "B T"], state: LSTMState | None = None
    ) -> tuple[Value, Bool[Array, "B T"], LSTMState]:
        """Runs the recurrence over one chunk.

        Args:
          xs: frames ``[B, T, D]``.
          mask: True where the frame is valid.
          state: state before the chunk; None for the initial state.

        Returns:
          Outputs ``[B, T, H]``, the mask, and the state after the chunk.
        """
        ops = recording(self.operators(LSTM_SITES), mask.T)
        if state is None:
            state = self.initial_state(mask.shape[0])
        xs = ops.input("input", time_major(xs, mask))

        depth = ops.values(xs).shape[-1]
        orthogonal, lecun = nn.initializers.orthogonal(), nn.initializers.lecun_normal()
        input_kernel = self.param("input_kernel", lecun, (depth, 4 * self.features))
        recurrent_kernel = self.param(
            "recurrent_kernel", orthogonal, (self.features, 4 * self.features)
        )
        bias = self.param("bias", gate_bias, (4 * self.features,))

        pre_x = gate_inputs(ops, xs, input_kernel, bias)
        weights = ops.weight("recurrent_kernel", recurrent_kernel)
        hiddens, cells, final = lstm_scan(
            self.rematerialize, self.gradient, unrecorded(ops), weights, pre_x, mask.T, state
        )
        note_cells(self, ops, hiddens, cells, mask)
        if self.policy.recording:  # repeats the steps of the scan, all at once
            hidden = ops.load("hidden", before_each_step(state.hidden, hiddens))
            cell = before_each_step(state.cell, cells)
            lstm_cell(ops, pre_x, ops.accumulate(hidden, weights), cell)
        ys = batch_major(ops.load("hidden", hiddens))
        self.observe(
            LSTM_SITES,
            mask,
            input=batch_major(xs),
            cell=ops.load("cell", cells.swapaxes(0, 1)),
            hidden=ys,
        )
        return ys, mask, final
