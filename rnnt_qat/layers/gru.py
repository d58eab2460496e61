"""Gated recurrent unit (GRU)."""

from typing import ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

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

GRU_SITES = {
    "input": Role.INPUT,
    "input_kernel": Role.WEIGHT,
    "reset_kernel": Role.WEIGHT,
    "update_kernel": Role.WEIGHT,
    "candidate_kernel": Role.WEIGHT,
    "gate_input": Role.GATE_PRE,
    "gate_pre": Role.GATE_PRE,
    "gate": Role.GATE,
    "minus_one": Role.GATE,
    "reset": Role.HIDDEN,
    "memory": Role.MEMORY,
    "hidden": Role.HIDDEN,
}
GATES = 3


@flax.struct.dataclass
class GRUState:
    """State of a GRU.

    Attributes:
      memory: the unit's memory, as the chip holds it.
    """

    memory: Num[Array, "B H"]


class GRU(RecurrentLayer):
    """GRU that computes with the operators of its policy; a ``StreamingLayer``.

    The reset gate is applied before the candidate's product, as in the original paper. The memory
    is as wide as an LSTM's cell: updates by an almost closed gate would be lost in the eight bits
    of a product's operand. A chip has no subtraction, so the candidate is multiplied by the
    constant -1.

    Reference: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation" (2014), section 2.3.

    Attributes:
      features: width H.
      rematerialize: whether the backward pass recomputes each step instead of keeping its
        derivative.
    """

    bias_blocks: ClassVar = {"reset_kernel": 0, "update_kernel": 1, "candidate_kernel": 2}

    features: int
    rematerialize: bool = False

    def initial_state(self, batch_size: int) -> GRUState:
        """Returns zeros in the chip's dtypes; requires a bound layer, whose precision is known."""
        return GRUState(jnp.zeros((batch_size, self.features), self.state_dtype(Role.MEMORY)))

    @nn.compact
    def __call__(
        self, xs: Value, mask: Bool[Array, "B T"], state: GRUState | None = None
    ) -> tuple[Value, Bool[Array, "B T"], GRUState]:
        """Runs the recurrence over one chunk.

        Args:
          xs: frames ``[B, T, D]``.
          mask: True where the frame is valid.
          state: state before the chunk; None for the initial state.

        Returns:
          Outputs ``[B, T, H]``, the mask, and the state after the chunk.
        """
        ops = recording(self.operators(GRU_SITES), mask.T)
        if state is None:
            state = self.initial_state(mask.shape[0])
        xs = ops.input("input", time_major(xs, mask))

        depth, width = ops.values(xs).shape[-1], self.features
        orthogonal, lecun = nn.initializers.orthogonal(), nn.initializers.lecun_normal()
        input_kernel = self.param("input_kernel", lecun, (depth, GATES * width))
        bias = self.param("bias", nn.initializers.zeros, (GATES * width,))
        pre_x = gate_inputs(ops, xs, input_kernel, bias)
        reset, update, candidate = (
            ops.weight(name, self.param(name, orthogonal, (width, width)))
            for name in ("reset_kernel", "update_kernel", "candidate_kernel")
        )
        minus_one = unrecorded(ops).store("minus_one", jnp.asarray(-1.0))

        def step(ops, pre_x_t, memory):
            """Computes the values of the new memory for one step of any number of rows."""
            inputs = [ops.load("gate_input", part) for part in jnp.split(pre_x_t, GATES, axis=-1)]
            memory = ops.load("memory", memory)
            hidden = ops.store("hidden", memory)

            def gate(x, operand, kernel):
                return ops.add(x, ops.accumulate(operand, kernel), "gate_pre")

            r = ops.sigmoid(gate(inputs[0], hidden, reset), "gate")
            z = ops.sigmoid(gate(inputs[1], hidden, update), "gate")
            n = ops.tanh(gate(inputs[2], ops.mul(r, hidden, "reset"), candidate), "gate")
            difference = ops.add(memory, ops.mul(n, minus_one, "memory"), "memory")
            return ops.values(ops.add(n, ops.mul(z, difference, "memory"), "memory"))

        def masked(carry: GRUState, x):
            pre_x_t, mask_t = x
            memory = step(unrecorded(ops), pre_x_t, carry.memory)
            memory = jnp.where(mask_t[:, None], memory, carry.memory)
            return GRUState(memory), memory

        masked = jax.checkpoint(masked) if self.rematerialize else masked
        final, memories = jax.lax.scan(masked, state, (pre_x, mask.T))
        if self.policy.recording:  # repeats the steps of the scan, all at once
            step(ops, pre_x, before_each_step(state.memory, memories))
        hidden = ops.store("hidden", ops.load("memory", memories))
        ys = batch_major(hidden)
        self.observe(
            GRU_SITES,
            mask,
            input=batch_major(xs),
            memory=ops.load("memory", memories.swapaxes(0, 1)),
            hidden=ys,
            reset=ys,
        )
        return ys, mask, final
