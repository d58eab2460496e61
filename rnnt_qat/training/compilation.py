"""Compilation of the update, one program per batch shape, counted and timed."""

import time
from collections.abc import Iterable

import jax
from jax.sharding import Mesh

from rnnt_qat.infra.errors import UserError
from rnnt_qat.infra.mesh import replicated, rows_sharding, state_shardings
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.update import StepReport, Update
from rnnt_qat.typing import PyTree


class MemoryUnknownError(UserError, RuntimeError):
    """A compiler that does not state how much memory its programs take."""


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
        self._bytes: dict[tuple, int] = {}
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

    def step_bytes(self, state: TrainState, batch: PyTree) -> int:
        """Returns the memory in bytes that a step takes on one device; compiles it if need be.

        It is that of the larger of the two programs: arguments, results and temporary values.

        Args:
          state: a state, which stays valid, or its shapes.
          batch: a batch or its shapes.

        Raises:
          MemoryUnknownError: if the compiler does not state it.
        """
        shapes = _shapes(batch)
        if shapes not in self._bytes:
            if shapes not in self._learn:
                self._compile(state, batch)
            assert self._apply is not None
            self._bytes[shapes] = max(map(_program_bytes, (self._learn[shapes], self._apply)))
        return self._bytes[shapes]

    def keep_only(self, batches: Iterable[PyTree]) -> None:
        """Discards the programs of other shapes than those of these batches."""
        kept = {_shapes(batch) for batch in batches}
        self._learn = {shapes: p for shapes, p in self._learn.items() if shapes in kept}

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


def _program_bytes(program: jax.stages.Compiled) -> int:
    memory = program.memory_analysis()
    if memory is None:
        raise MemoryUnknownError(
            f"the compiler of {jax.default_backend()} does not state the memory of a program: set "
            "pipeline.memory_bytes=0 and choose pipeline.batch_seconds"
        )
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes  # results in the place of donated arguments
    )


def _shapes(batch: PyTree) -> tuple:
    return tuple((leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(batch))
