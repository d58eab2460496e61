"""Streaming recognition as StableHLO programs: audio chunks in, tokens out; they need JAX only.

    start.stablehlo    () -> state
    step.stablehlo     (audio [B, N] float32, lengths [B] int32, state) -> (emitted, state)
    finish.stablehlo   (state) -> emitted
    signature.txt      every argument and result of them

``audio`` is in [-1, 1). ``lengths`` is N while a stream continues, less in the chunk in which it
ends, and 0 afterwards. ``state`` is a dict of arrays of constant size, however long the stream is.
``emitted`` is a dict of the tokens that a chunk made final: the first ``length`` of ``tokens``,
with ``emission_frames`` and ``token_log_probs``. A token of -1 marks the end of a segment (an
endpoint, or the end of the stream in ``finish``).
"""

from pathlib import Path

import jax
import jax.numpy as jnp

from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.endpoint import EndpointConfig
from rnnt_qat.decoding.live_driver import LiveDriver
from rnnt_qat.decoding.search import SearchConfig
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.export.stablehlo import export_stablehlo, signature
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.typing import Array, Float, Int, PyTree

START, STEP, FINISH = "start.stablehlo", "step.stablehlo", "finish.stablehlo"
SIGNATURE = "signature.txt"


def export_serving_program(
    frontend: Frontend,
    search: SearchConfig,
    transducer: Transducer,
    chunk_ms: float,
    folder: Path,
    batch_size: int = 1,
    endpoint: EndpointConfig | None = None,
) -> None:
    """Writes the programs and their signature.

    Args:
      frontend: maps audio to features.
      search: options of the search; its capacity is set to the tokens of a chunk.
      transducer: the model; its variables become constants of the programs.
      chunk_ms: duration of the audio of one step in ms, a whole number of encoder frames.
      folder: receives the files.
      batch_size: number of streams processed together.
      endpoint: rule for the ends of segments; None ends them only at the end of a stream.
    """
    sizes = ChunkDriver(frontend, search.build())
    samples = sizes.chunk_samples(transducer, chunk_ms)
    frames = samples // sizes.encoder_frame_samples(transducer)
    driver = LiveDriver(frontend, search, frames, endpoint)

    def initial_state() -> PyTree:
        return driver.initial_state(transducer, batch_size)

    template = jax.eval_shape(initial_state)
    names, tree = list(_by_path(template)), jax.tree.structure(template)

    def unnamed(state: dict[str, Array]) -> PyTree:
        return jax.tree.unflatten(tree, [state[name] for name in names])

    def start() -> dict[str, Array]:
        return _by_path(initial_state())

    def step(
        audio: Float[Array, "B N"], lengths: Int[Array, "B"], state: dict[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        emitted, held = driver.step(transducer, audio, lengths, unnamed(state))
        return _by_path(emitted), _by_path(held)

    def finish(state: dict[str, Array]) -> dict[str, Array]:
        return _by_path(driver.finish(unnamed(state)))

    state = jax.eval_shape(start)
    chunk = (
        jax.ShapeDtypeStruct((batch_size, samples), jnp.float32),
        jax.ShapeDtypeStruct((batch_size,), jnp.int32),
    )
    programs = {
        START: export_stablehlo(start, (), folder / START),
        STEP: export_stablehlo(step, (*chunk, state), folder / STEP),
        FINISH: export_stablehlo(finish, (state,), folder / FINISH),
    }
    lines = [f"{name}\n{signature(program)}\n" for name, program in programs.items()]
    (folder / SIGNATURE).write_text("\n".join(lines))


def _by_path(state: PyTree) -> dict[str, Array]:
    """Returns the leaves of a state by the path of their field."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
