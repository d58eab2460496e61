"""The matrix product of layers, with gradients laid out for speed.

XLA's CPU kernels are fast if the contracted axis of both operands is where a plain product has it.
Without help, the gradient of the kernel ``x^T d`` runs at half of that speed, and ``d w^T`` of a
small batch at a third (benchmarks/RESULTS.md). Here each transposed operand is materialized first.
The kernel is transposed where the VJP is created, so a scan that closes over a VJP transposes once,
not once per step.
"""

import jax
import jax.numpy as jnp

from rnnt_qat.typing import Array, Float


@jax.custom_vjp
def matmul(x: Float[Array, "*S K"], w: Float[Array, "K M"]) -> Float[Array, "*S M"]:
    """Computes ``x @ w`` in float32 from operands of one dtype."""
    return jnp.matmul(x, w, preferred_element_type=jnp.float32)


def _matmul_fwd(x, w):
    # Only the operands of the requested gradients are kept.
    d_x_needs = _materialized(w.value.T) if x.perturbed else None
    d_w_needs = x.value if w.perturbed else None
    return matmul(x.value, w.value), (d_x_needs, d_w_needs)


def _matmul_bwd(residuals, d):
    w_transposed, x = residuals
    d_x = d_w = None
    if w_transposed is not None:
        d_x = jnp.matmul(d, w_transposed, preferred_element_type=jnp.float32)
        d_x = d_x.astype(w_transposed.dtype)
    if x is not None:
        rows, d_rows = x.reshape(-1, x.shape[-1]), d.reshape(-1, d.shape[-1])
        d_w = _transposed_product(rows, d_rows).astype(x.dtype)
    return d_x, d_w


def _transposed_product(a: Float[Array, "S K"], b: Float[Array, "S M"]) -> Float[Array, "K M"]:
    """Computes ``a^T b``; the narrower operand is materialized transposed."""
    if b.shape[1] < a.shape[1]:
        return _materialized(_transposed_product(b, a)).T
    return jnp.matmul(_materialized(a.T), b, preferred_element_type=jnp.float32)


def _materialized(x: Array) -> Array:
    """Prevents XLA from folding a transposition into the product that reads it."""
    return jax.lax.optimization_barrier(x)


matmul.defvjp(_matmul_fwd, _matmul_bwd, symbolic_zeros=True)
