"""StableHLO for serving on CPU, GPU and TPU: a jitted function and its signature in one file.

A `.stablehlo` file is serialized by ``jax.export`` (https://docs.jax.dev/en/latest/export): the
program with its constants, the trees of its arguments and results, and the platforms on which it
can run. Loading it requires JAX only, not this project.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax import export

from rnnt_qat.typing import PyTree

PLATFORMS = ("cpu", "cuda", "tpu")


def export_stablehlo(
    fn: Callable[..., PyTree],
    example_args: Sequence[PyTree],
    path: str | os.PathLike[str],
    platforms: Sequence[str] = PLATFORMS,
) -> export.Exported:
    """Lowers ``fn`` for the shapes of ``example_args`` and writes it.

    Args:
      fn: pure function of pytrees of arrays; values that it closes over become constants.
      example_args: arguments, or their ``jax.ShapeDtypeStruct``. Containers must be tuples, lists,
        dicts or None, because a registered class would have to exist where the file is loaded.
      path: the file to write.
      platforms: platforms on which it can run.

    Returns:
      The exported program; ``str`` of its ``in_avals`` and ``out_avals`` is the signature.

    Raises:
      TypeError: a result or argument has a container of another class.
    """
    exported = export.export(jax.jit(fn), platforms=tuple(platforms))(*example_args)
    for what, tree, avals in _boundary(exported):
        strange = _strange_container(jax.tree.unflatten(tree, [None] * len(avals)))
        if strange is not None:
            raise TypeError(
                f"{what}s of {getattr(fn, '__name__', fn)} are held in a {strange.__name__}; "
                "take and return tuples, lists or dicts so that the file loads without this code"
            )
    Path(path).write_bytes(exported.serialize())
    return exported


def load_stablehlo(path: str | os.PathLike[str]) -> export.Exported:
    """Reads a program, for ``load_stablehlo(path).call(*args)``.

    Raises:
      ValueError: the file is not a complete serialized program.
    """
    content = Path(path).read_bytes()
    try:
        return export.deserialize(bytearray(content))
    except Exception as error:  # the reader trusts its input and may raise any exception
        raise ValueError(f"{path} is not a whole serialized JAX program: {error}") from error


def signature(exported: export.Exported) -> str:
    """Returns one line per argument and result: its path in the tree, dtype and shape."""
    lines = []
    for what, tree, avals in _boundary(exported):
        leaves = jax.tree_util.tree_leaves_with_path(jax.tree.unflatten(tree, avals))
        lines += [
            f"{what} {jax.tree_util.keystr(path)}: {aval.str_short()}" for path, aval in leaves
        ]
    return "\n".join(lines)


def _boundary(exported: export.Exported) -> tuple[tuple[str, Any, Any], ...]:
    return (
        ("argument", exported.in_tree, exported.in_avals),
        ("result", exported.out_tree, exported.out_avals),
    )


def _strange_container(tree: Any) -> type | None:
    """Returns the first container that JAX alone cannot rebuild; leaves are None."""
    if tree is None:
        return None
    if type(tree) not in (tuple, list, dict):
        return type(tree)
    items = tree.values() if isinstance(tree, dict) else tree
    return next((found for item in items if (found := _strange_container(item))), None)
