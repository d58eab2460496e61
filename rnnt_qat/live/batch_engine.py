"""A streaming recognizer of many streams in one compiled program.

Streams occupy rows of a batch. They begin, pause and end at any chunk, independently of the other
rows: a row without a chunk keeps its state.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from rnnt_qat.batch import to_float
from rnnt_qat.decoding.endpoint import EndpointConfig
from rnnt_qat.decoding.search import SearchConfig, select_rows
from rnnt_qat.experiment.model_engine import ModelEngine, tokens_of
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.transcriber import DecodedChunk
from rnnt_qat.typing import Int


@dataclasses.dataclass(frozen=True)
class Chunk:
    """The next audio of one stream.

    Attributes:
      audio: int16 samples, at most ``chunk_samples``; only the last chunk may be shorter, or empty
        where the end of the stream became known after its audio.
      first: whether the stream begins with it.
      last: whether the stream ends with it.
    """

    audio: Int[np.ndarray, "N"]
    first: bool
    last: bool


class BatchEngine(ModelEngine):
    """A trained model on a fixed number of rows.

    Args:
      recognizer: the trained model.
      search: config of the search.
      chunk_ms: audio per chunk in milliseconds, a multiple of the encoder frame.
      rows: maximum number of streams.
      endpoint: endpointing rules; None ends segments only at the end of a stream.

    Raises:
      ValueError: if ``chunk_ms`` is not a multiple of the encoder frame.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        search: SearchConfig,
        chunk_ms: float,
        rows: int,
        endpoint: EndpointConfig | None,
    ):
        super().__init__(recognizer, search, chunk_ms, endpoint)
        self.rows = rows
        driver = self.driver
        self._start = jax.jit(lambda transducer: driver.initial_state(transducer, rows))
        self._state = self._start(self.transducer)

        @jax.jit
        def step(transducer, audio, lengths, first, active, state):
            before = select_rows(first, driver.initial_state(transducer, rows), state)
            emitted, after = driver.step(transducer, audio, lengths, before)
            after = select_rows(active, after, before)
            return emitted, driver.partial(after), after

        self._step, self._finish = step, jax.jit(driver.finish)

    def step(self, chunks: Mapping[int, Chunk]) -> dict[int, Sequence[DecodedChunk]]:
        """Processes the next chunk of some of the rows.

        Args:
          chunks: chunks by row.

        Returns:
          By row, what was recognised in the chunk if it holds audio, and then, if the stream ended,
          at its end.
        """
        audio = np.zeros((self.rows, self.chunk_samples), np.float32)
        lengths = np.zeros(self.rows, np.int32)
        first, active = np.zeros(self.rows, bool), np.zeros(self.rows, bool)
        for row, chunk in chunks.items():
            audio[row, : len(chunk.audio)] = to_float(chunk.audio)
            lengths[row] = len(chunk.audio)
            first[row], active[row] = chunk.first, len(chunk.audio) > 0
        emitted, partial, self._state = self._step(
            self.transducer, audio, lengths, first, active, self._state
        )
        ending = [row for row, chunk in chunks.items() if chunk.last]
        rest = self._finish(self._state) if ending else None
        emitted, partial, rest = jax.device_get((emitted, partial, rest))
        heard: dict[int, Sequence[DecodedChunk]] = {
            row: [DecodedChunk(tokens_of(emitted, row), tokens_of(partial, row))]
            * bool(active[row])
            for row in chunks
        }
        for row in ending:
            heard[row] = [*heard[row], DecodedChunk(tokens_of(rest, row))]
        return heard

    def compile(self) -> None:
        """Compiles both programs, so that the first stream does not wait for them."""
        silence = Chunk(np.zeros(self.chunk_samples, np.int16), True, True)
        self.step({0: silence})
        self._state = self._start(self.transducer)
