"""A scan that stacks each array once."""

from collections.abc import Callable

import jax

from rnnt_qat.typing import PyTree


def distinct_scan(
    step: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    init: PyTree,
    xs: PyTree,
    *,
    reverse: bool = False,
) -> tuple[PyTree, PyTree]:
    """Like ``jax.lax.scan``, but stacks an array that a step returns in several places only once.

    Residuals of a VJP, and gradients that pass through a sum unchanged, are such arrays. XLA would
    otherwise write and keep one stack per place.

    Args:
      step: maps ``(carry, x)`` to ``(carry, y)``.
      init: initial carry.
      xs: arrays with the scanned axis first.
      reverse: whether to scan from the last element to the first.

    Returns:
      The final carry and the stacked outputs.
    """
    structure, places = None, []

    def stepped(carry, x):
        nonlocal structure, places
        carry, ys = step(carry, x)
        leaves, structure = jax.tree.flatten(ys)
        distinct = {id(leaf): leaf for leaf in leaves}
        order = list(distinct)
        places = [order.index(id(leaf)) for leaf in leaves]
        return carry, list(distinct.values())

    carry, stacks = jax.lax.scan(stepped, init, xs, reverse=reverse)
    assert structure is not None
    return carry, structure.unflatten(stacks[place] for place in places)
