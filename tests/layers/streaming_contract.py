"""The one check that every streaming layer passes: layer == step, values and gradients.

A layer is given as a function ``apply(params, xs, mask, state) -> (ys, mask, state)``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.quant.qtensor import dequantize


def random_ragged(key, batch: int, frames: int, width: int):
    """Frames with NaN in the padding, and a mask with a full row, an empty row and others."""
    xs = jax.random.normal(key, (batch, frames, width))
    lengths = jnp.linspace(frames, 0, batch).round().astype(jnp.int32)
    mask = jnp.arange(frames) < lengths[:, None]
    return jnp.where(mask[..., None], xs, jnp.nan), mask


def in_chunks(apply: Callable, params, xs, mask, state, chunk: int):
    """Feeds chunk by chunk, carrying the state; ``chunk`` divides the number of frames."""

    def split(a):  # [B, T, ...] -> [T / chunk, B, chunk, ...]
        return a.reshape(a.shape[0], -1, chunk, *a.shape[2:]).swapaxes(0, 1)

    def join(a):
        return a.swapaxes(0, 1).reshape(a.shape[1], -1, *a.shape[3:])

    def step(state, part):
        ys, y_mask, state = apply(params, *part, state)
        return state, (dequantize(ys), y_mask)

    state, (ys, masks) = jax.lax.scan(step, state, (split(xs), split(mask)))
    return join(ys), join(masks), state


def check_streaming_contract(apply, initial_state, params, xs, mask, chunks, *, atol: float):
    """Checks outputs, mask, final state and gradients of the whole against every chunk size.

    ``atol`` is 0 for integer arithmetic: there, chunks must give the same bits.
    """

    def run(params, xs, chunk):
        xs = jnp.where(mask[..., None], xs, jnp.nan)  # NaN in the padding stays there
        ys, y_mask, state = in_chunks(apply, params, xs, mask, initial_state, chunk)
        return jnp.where(y_mask[..., None], ys, 0.0), y_mask, state

    def loss(params, xs, chunk):
        ys, _, state = run(params, xs, chunk)
        return jnp.sum(jnp.sin(ys)) + sum(
            jnp.sum(jnp.cos(s.astype(jnp.float32))) for s in jax.tree.leaves(state)
        )

    xs = jnp.nan_to_num(xs)
    run = jax.jit(run, static_argnums=2)
    gradient_of_loss = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    whole = run(params, xs, xs.shape[1])
    whole_gradient = gradient_of_loss(params, xs, xs.shape[1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((whole, whole_gradient)))
    for chunk in chunks:
        parts = run(params, xs, chunk)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), parts, whole)
        gradient = gradient_of_loss(params, xs, chunk)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
            gradient,
            whole_gradient,
        )
