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
    """``jax.lax.scan``, but of an array that a step returns in several places one stack is kept.

    Residuals of a VJP and gradients that pass through a sum unchanged are such arrays; XLA would
    write and hold a copy of the whole stack for each place.
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
