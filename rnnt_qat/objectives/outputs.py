"""Outputs of a training forward pass that objectives read."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax.numpy as jnp

from rnnt_qat.layers.cell_states import CELLS, CellStates
from rnnt_qat.models.rnnt import RNNT, Lattice
from rnnt_qat.typing import Array, Bool, Float, PRNGKey, PyTree


@flax.struct.dataclass
class Outputs:
    """The outputs of one forward pass; compilation removes those that no objective reads.

    Attributes:
      lattice: both axes of the transducer's lattice, and the joint network.
      cells: states of LSTMs after every frame or label, by module path.
    """

    lattice: Lattice
    cells: Mapping[str, CellStates]


def forward(
    model: RNNT, variables: PyTree, inputs: tuple[Any, ...], row_keys: PRNGKey | None = None
) -> Outputs:
    """Runs a model and returns its outputs for objectives.

    Args:
      model: a model under any policy.
      variables: variables of the model.
      inputs: the first four arguments of ``RNNT.__call__``.
      row_keys: one dropout key per row; None disables dropout.
    """
    lattice, noted = model.apply(variables, *inputs, row_keys, mutable=[CELLS])
    return Outputs(lattice, _by_path(noted.get(CELLS, {})))


def squared_distance(
    ours: Float[Array, "B T D"], theirs: Float[Array, "B T D"], mask: Bool[Array, "B T"]
) -> Float[Array, "B"]:
    """Returns the squared distance of each row, averaged over D and summed over valid frames.

    It scales with the length of an utterance like the transducer loss.

    Args:
      ours: values of the student.
      theirs: values of the teacher.
      mask: True where the frame is valid; other values may be NaN.
    """
    # Mask before squaring, so that values in the padding cannot affect the gradient.
    difference = jnp.where(mask[..., None], ours - theirs, 0.0).astype(jnp.float32)
    return jnp.mean(difference**2, axis=-1).sum(axis=1)


def _by_path(tree: Any, path: str = "") -> dict[str, CellStates]:
    if isinstance(tree, CellStates):
        return {path: tree}
    inner = (_by_path(v, f"{path}/{k}".lstrip("/")) for k, v in tree.items())
    return {name: cells for each in inner for name, cells in each.items()}
