"""LSTM with a recurrent projection (LSTMP)."""

from typing import ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.layers.lstm import LSTM_SITES, gate_bias
from rnnt_qat.layers.lstm_scan import lstm_cell
from rnnt_qat.layers.recurrent_layer import (
    RecurrentLayer,
    batch_major,
    before_each_step,
    gate_inputs,
    time_major,
)
from rnnt_qat.quant.diagnostics import recording, unrecorded
from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.sites import Role
from rnnt_qat.typing import Array, Bool, Num

PROJECTED_LSTM_SITES = LSTM_SITES | {
    "projection_kernel": Role.WEIGHT,
    "projected": Role.PROJECTED,
}


@flax.struct.dataclass
class ProjectedLSTMState:
    """State of a projected LSTM, as the chip holds it.

    Attributes:
      projected: projected output.
      cell: cell state.
    """

    projected: Num[Array, "B P"]
    cell: Num[Array, "B H"]


class ProjectedLSTM(RecurrentLayer):
    """LSTM whose output and recurrent state are a projection of its hidden state.

    The recurrent kernel reads P values instead of an LSTM's H, so that a wide cell needs a fraction
    of the weights. No peepholes, and the projection has no bias; a ``StreamingLayer``.

    Reference: Sak et al., "Long Short-Term Memory Recurrent Neural Network Architectures for Large
    Scale Acoustic Modeling" (2014), section 2.

    Attributes:
      features: width H of the cell.
      projection: width P of the output.
      rematerialize: whether the backward pass recomputes each step instead of keeping its
        derivative.
    """

    bias_blocks: ClassVar = {"recurrent_kernel": 0}

    features: int
    projection: int
    rematerialize: bool = False

    def initial_state(self, batch_size: int) -> ProjectedLSTMState:
        """Returns zeros in the chip's dtypes; requires a bound layer, whose precision is known."""
        return ProjectedLSTMState(
            projected=jnp.zeros((batch_size, self.projection), self.state_dtype(Role.PROJECTED)),
            cell=jnp.zeros((batch_size, self.features), self.state_dtype(Role.CELL)),
        )

    @nn.compact
    def __call__(
        self, xs: Value, mask: Bool[Array, "B T"], state: ProjectedLSTMState | None = None
    ) -> tuple[Value, Bool[Array, "B T"], ProjectedLSTMState]:
        """Runs the recurrence over one chunk.

        Args:
          xs: frames ``[B, T, D]``.
          mask: True where the frame is valid.
          state: state before the chunk; None for the initial state.

        Returns:
          Outputs ``[B, T, P]``, the mask, and the state after the chunk.
        """
        ops = recording(self.operators(PROJECTED_LSTM_SITES), mask.T)
        if state is None:
            state = self.initial_state(mask.shape[0])
        xs = ops.input("input", time_major(xs, mask))

        depth, gates = ops.values(xs).shape[-1], 4 * self.features
        orthogonal, lecun = nn.initializers.orthogonal(), nn.initializers.lecun_normal()
        input_kernel = self.param("input_kernel", lecun, (depth, gates))
        recurrent_kernel = self.param("recurrent_kernel", orthogonal, (self.projection, gates))
        projection_kernel = self.param("projection_kernel", lecun, (self.features, self.projection))
        bias = self.param("bias", gate_bias, (gates,))

        pre_x = gate_inputs(ops, xs, input_kernel, bias)
        recurrent = ops.weight("recurrent_kernel", recurrent_kernel)
        projection = ops.weight("projection_kernel", projection_kernel)

        def cell(ops, projected, pre_x_t, cell):
            """Computes one step of any number of rows: values of projected, hidden and cell."""
            product = ops.accumulate(ops.load("projected", projected), recurrent)
            hidden, cell = lstm_cell(ops, pre_x_t, product, cell)
            product = ops.accumulate(ops.load("hidden", hidden), projection)
            return ops.values(ops.store("projected", product)), hidden, cell

        def step(carry: ProjectedLSTMState, x):
            pre_x_t, mask_t = x
            projected, hidden, new_cell = cell(
                unrecorded(ops), carry.projected, pre_x_t, carry.cell
            )
            new = ProjectedLSTMState(
                projected=jnp.where(mask_t[:, None], projected, carry.projected),
                cell=jnp.where(mask_t[:, None], new_cell, carry.cell),
            )
            return new, (new.projected, hidden, new.cell)

        step = jax.checkpoint(step) if self.rematerialize else step
        final, (outputs, hiddens, cells) = jax.lax.scan(step, state, (pre_x, mask.T))
        if self.policy.recording:  # repeats the steps of the scan, all at once
            projected = before_each_step(state.projected, outputs)
            cell(ops, projected, pre_x, before_each_step(state.cell, cells))
        ys = batch_major(ops.load("projected", outputs))
        self.observe(
            PROJECTED_LSTM_SITES,
            mask,
            input=batch_major(xs),
            cell=ops.load("cell", cells.swapaxes(0, 1)),
            hidden=ops.load("hidden", hiddens.swapaxes(0, 1)),
            projected=ys,
        )
        return ys, mask, final
