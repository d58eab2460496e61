"""Splitting an accumulator into the pre-activations of four gates."""

import jax
import jax.numpy as jnp

from rnnt_qat.typing import Array, Num

GATES = 4


@jax.custom_vjp
def cut_gates(pre: Num[Array, "*S H4"]) -> tuple[Num[Array, "*S H"], ...]:
    """Splits gate pre-activations along the last axis."""
    return tuple(jnp.split(pre, GATES, axis=-1))


def _cut_gates_fwd(pre):
    return cut_gates(pre), None


def _cut_gates_bwd(_, d_gates):
    # Without the barrier, XLA fuses each gate's gradient into the loop that concatenates them,
    # which then branches at every element and is not vectorized.
    return (jnp.concatenate(jax.lax.optimization_barrier(d_gates), axis=-1),)


cut_gates.defvjp(_cut_gates_fwd, _cut_gates_bwd)
