"""What objectives read of a forward pass in training."""

from collections.abc import Mapping
from typing import Any

import flax.struct

from rnnt_qat.layers.cell_states import CELLS, CellStates
from rnnt_qat.models.rnnt import RNNT, Lattice
from rnnt_qat.typing import PRNGKey, PyTree


@flax.struct.dataclass
class Outputs:
    """The outputs of one forward pass; what no objective reads is never computed.

    Attributes:
      lattice: both axes of the transducer's lattice, and the joint.
      cells: cell states of each layer that has some after every frame or label, by module path.
    """

    lattice: Lattice
    cells: Mapping[str, CellStates]


def forward(
    model: RNNT, variables: PyTree, inputs: tuple[Any, ...], row_keys: PRNGKey | None = None
) -> Outputs:
    """Runs a model for its objectives.

    Args:
      model: under any policy.
      variables: of the model.
      inputs: the first four arguments of ``RNNT.__call__``.
      row_keys: keys a row for dropout; None: nothing is dropped.
    """
    lattice, noted = model.apply(variables, *inputs, row_keys, mutable=[CELLS])
    return Outputs(lattice, _by_path(noted.get(CELLS, {})))


def _by_path(tree: Any, path: str = "") -> dict[str, CellStates]:
    if isinstance(tree, CellStates):
        return {path: tree}
    inner = (_by_path(v, f"{path}/{k}".lstrip("/")) for k, v in tree.items())
    return {name: cells for each in inner for name, cells in each.items()}
