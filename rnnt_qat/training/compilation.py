"""One compiled program a batch shape, counted and timed."""

import time

import jax
from jax.sharding import Mesh

from rnnt_qat.mesh import replicated, rows_sharding
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.update import StepReport, Update
from rnnt_qat.typing import PyTree


class CompiledUpdate:
    """An update that donates its state and compiles once for each shape of batch.

    Args:
      update: the pure function.
      shardings: where the state's leaves live, before and after.
      mesh: the devices; a batch's rows are cut over them.

    Attributes:
      seconds: time they took, tracing included.
    """

    def __init__(self, update: Update, shardings: PyTree, mesh: Mesh):
        self._jitted = jax.jit(
            update,
            donate_argnums=0,
            in_shardings=(shardings, rows_sharding(mesh)),
            out_shardings=(shardings, replicated(mesh)),
        )
        self._compiled: dict[tuple, jax.stages.Compiled] = {}
        self.seconds = 0.0

    @property
    def count(self) -> int:
        """Compilations so far."""
        return len(self._compiled)

    def needs_compilation(self, batch: PyTree) -> bool:
        """Whether this batch has a shape not seen before."""
        return _shapes(batch) not in self._compiled

    def __call__(self, state: TrainState, batch: PyTree) -> tuple[TrainState, StepReport]:
        """The next state; the arrays of the one given are gone."""
        shapes = _shapes(batch)
        if shapes not in self._compiled:
            begun = time.monotonic()
            self._compiled[shapes] = self._jitted.lower(state, batch).compile()
            self.seconds += time.monotonic() - begun
        return self._compiled[shapes](state, batch)

    def summary(self) -> str:
        """How many compilations, and how long they took."""
        return f"{self.count} batch shapes compiled in {self.seconds:.1f} s"


def _shapes(batch: PyTree) -> tuple:
    return tuple((leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(batch))
