"""Streaming recognition as two StableHLO programs: audio chunks in, tokens out, JAX alone needed.

    start.stablehlo   () -> state
    step.stablehlo    (audio [B, N] float32 in [-1, 1), lengths [B] int32, state) -> state
    signature.txt     every argument and result of both

``state`` is a dict of arrays; after every chunk its ``search/hypothesis/tokens`` and
``search/hypothesis/length`` hold the partial result. ``lengths`` is N while a stream goes on, fewer
in the chunk that it ends in, 0 afterwards.
"""

from pathlib import Path

import jax
import jax.numpy as jnp

from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.export.stablehlo import export_stablehlo, signature
from rnnt_qat.typing import Array, Float, Int, PyTree

START, STEP, SIGNATURE = "start.stablehlo", "step.stablehlo", "signature.txt"


def export_serving_program(
    driver: ChunkDriver,
    transducer: Transducer,
    chunk_ms: float,
    folder: Path,
    batch_size: int = 1,
) -> None:
    """Writes both programs and their signature.

    Args:
      driver: frontend and search.
      transducer: its variables become constants of the programs.
      chunk_ms: audio of one step, whole encoder frames.
      folder: takes the files.
      batch_size: streams that run side by side.
    """

    def initial_state() -> PyTree:
        return driver.initial_state(transducer, batch_size)

    template = jax.eval_shape(initial_state)
    names, tree = list(_by_path(template)), jax.tree.structure(template)

    def start() -> dict[str, Array]:
        return _by_path(initial_state())

    def step(
        audio: Float[Array, "B N"], lengths: Int[Array, "B"], state: dict[str, Array]
    ) -> dict[str, Array]:
        held = jax.tree.unflatten(tree, [state[name] for name in names])
        return _by_path(driver.step(transducer, audio, lengths, held))

    samples = driver.chunk_samples(transducer, chunk_ms)
    arguments = (
        jax.ShapeDtypeStruct((batch_size, samples), jnp.float32),
        jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        jax.eval_shape(start),
    )
    programs = {
        START: export_stablehlo(start, (), folder / START),
        STEP: export_stablehlo(step, arguments, folder / STEP),
    }
    lines = [f"{name}\n{signature(program)}\n" for name, program in programs.items()]
    (folder / SIGNATURE).write_text("\n".join(lines))


def _by_path(state: PyTree) -> dict[str, Array]:
    """Leaves of a state under the names of the fields that they are in."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
