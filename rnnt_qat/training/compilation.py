"""Compilation of the update, one program per batch shape, counted and timed."""

import time

import jax
from jax.sharding import Mesh

from rnnt_qat.infra.mesh import replicated, rows_sharding, state_shardings
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.update import StepReport, Update
from rnnt_qat.typing import PyTree


class CompiledUpdate:
    """A compiled update that donates its state.

    The part that depends on the batch is compiled once for each batch shape.

    Args:
      update: the pure functions to compile.
      mesh: the devices over which a batch's rows are sharded.
      shard_above: threshold of ``state_shardings`` in elements, for the state's shardings.

    Attributes:
      seconds: total compilation time in seconds, including tracing.
      lowering_seconds: the part of tracing and lowering, which no cache of programs saves.
    """

    def __init__(self, update: Update, mesh: Mesh, shard_above: int):
        self._update, self._mesh, self._shard_above = update, mesh, shard_above
        self._learn: dict[tuple, jax.stages.Compiled] = {}
        self._apply: jax.stages.Compiled | None = None
        self.seconds = self.lowering_seconds = 0.0

    @property
    def count(self) -> int:
        """Number of batch shapes compiled so far."""
        return len(self._learn)

    def needs_compilation(self, batch: PyTree) -> bool:
        """Returns whether no program is compiled for this batch's shapes yet."""
        return _shapes(batch) not in self._learn

    def __call__(self, state: TrainState, batch: PyTree) -> tuple[TrainState, StepReport]:
        """Applies the update; the buffers of ``state`` are donated and no longer valid.

        Args:
          state: the state to update.
          batch: global arrays whose first axis is sharded over the mesh.

        Returns:
          The next state and the step's report.
        """
        if self.needs_compilation(batch):
            self._compile(state, batch)
        assert self._apply is not None
        return self._apply(state, self._learn[_shapes(batch)](state, batch))

    def _compile(self, state: TrainState, batch: PyTree) -> None:
        begun = time.monotonic()
        learned = jax.eval_shape(self._update.learn, state, batch)
        state_home, learned_home = (
            state_shardings(self._mesh, tree, self._shard_above) for tree in (state, learned)
        )
        learn = jax.jit(
            self._update.learn,
            in_shardings=(state_home, rows_sharding(self._mesh)),
            out_shardings=learned_home,
        )
        lowered = learn.lower(state, batch)
        self.lowering_seconds += time.monotonic() - begun
        self._learn[_shapes(batch)] = lowered.compile()
        if self._apply is None:
            apply = jax.jit(
                self._update.apply,
                donate_argnums=0,
                in_shardings=(state_home, learned_home),
                out_shardings=(state_home, replicated(self._mesh)),
            )
            self._apply = apply.lower(state, learned).compile()
        self.seconds += time.monotonic() - begun

    def summary(self) -> str:
        """Returns the number of compilations and the time that they took, as text."""
        shapes = "batch shape" if self.count == 1 else "batch shapes"
        return f"{self.count} {shapes} compiled in {self.seconds:.1f} s"


def _shapes(batch: PyTree) -> tuple:
    return tuple((leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(batch))
