"""Training over long utterances in windows, so that the backward pass keeps one window's values."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnnt_qat.typing import Array, Bool, Float, Int, PyTree

Window = tuple[Float[Array, "B W F"], Bool[Array, "B W"], Int[Array, ""]]
"""Features and mask of a window, and its number."""


def in_windows(
    run: Callable[[PyTree, Window], tuple[PyTree, PyTree]],
    state: PyTree,
    features: Float[Array, "B T F"],
    mask: Bool[Array, "B T"],
    window: int,
) -> tuple[PyTree, PyTree]:
    """Runs a streaming layer over one window after the other, with carried state.

    The outputs are those of one call for all frames. For its backward pass, a window keeps the
    state before it and its outputs, and computes the rest again (Chen et al., "Training Deep Nets
    with Sublinear Memory Cost", 2016).

    Args:
      run: maps the state and a window to the state after it and a pytree of outputs
        whose second axis has W entries, or a fraction of W after time reduction.
      state: state before the first frame.
      features: frames.
      mask: True where the frame is valid.
      window: W, frames in a window; a multiple of the time reduction, as T is.

    Returns:
      The state after the last frame, and the outputs with all windows joined.
    """
    frames = features.shape[1]
    count = -(-frames // window)

    def split(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (0, count * window - frames), *[(0, 0)] * (x.ndim - 2)))
        return padded.reshape(len(x), count, window, *x.shape[2:]).swapaxes(0, 1)

    def join(ys: Array) -> Array:
        rate = window // ys.shape[2]
        joined = ys.swapaxes(0, 1).reshape(ys.shape[1], -1, *ys.shape[3:])
        return joined[:, : frames // rate]

    windows = split(features), split(mask), jnp.arange(count)
    state, outputs = jax.lax.scan(jax.checkpoint(run), state, windows)
    return state, jax.tree.map(join, outputs)
