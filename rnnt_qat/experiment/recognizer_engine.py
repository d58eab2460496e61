"""Live recognition with a trained model, one compiled step per chunk."""

import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.batch import to_float
from rnnt_qat.decoding.endpoint import EndpointConfig
from rnnt_qat.decoding.hypothesis import Hypothesis
from rnnt_qat.decoding.live_driver import SEGMENT_END
from rnnt_qat.decoding.search import SearchConfig
from rnnt_qat.experiment.model_engine import ModelEngine, tokens_of
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.transcriber import DecodedChunk, Token
from rnnt_qat.typing import Int


class RecognizerEngine(ModelEngine):
    """An ``Engine`` over a trained model.

    Args:
      recognizer: the trained model.
      search: config of the search.
      chunk_ms: audio per chunk in milliseconds, a multiple of the encoder frame.
      endpoint: endpointing rules; None ends segments only at the end of a stream.
      alternatives: number of hypotheses per segment to return; 1 returns no alternatives.

    Raises:
      ValueError: if ``chunk_ms`` is not a multiple of the encoder frame.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        search: SearchConfig,
        chunk_ms: float,
        endpoint: EndpointConfig | None = None,
        alternatives: int = 1,
    ):
        super().__init__(recognizer, search, chunk_ms, endpoint)
        driver = self.driver
        self._alternatives = alternatives
        self._prefix: list[int] = []  # final tokens of the open segment, used for alternatives only

        @jax.jit
        def start(transducer):
            return driver.initial_state(transducer, 1)

        @jax.jit
        def step(transducer, audio, lengths, state):
            emitted, segments, state = driver.step_with_segments(transducer, audio, lengths, state)
            # Alternatives are computed only on request.
            return emitted, segments if alternatives > 1 else None, driver.partial(state), state

        @jax.jit
        def finish(state):
            return driver.finish(state), driver.alternatives(state)

        self._start, self._step, self._finish = start, step, finish

    def compile(self) -> None:
        """Compiles the programs, so that the first chunk does not wait for them; starts anew."""
        self.start()
        self.push(np.zeros(self.chunk_samples, np.int16))
        self.end()
        self.start()

    def start(self) -> None:
        """Starts a new stream."""
        self._state = self._start(self.transducer)
        self._prefix = []

    def push(self, audio: Int[np.ndarray, "N"]) -> DecodedChunk:
        """Processes the next chunk of int16 samples; only the last chunk may be shorter."""
        padded = np.pad(to_float(audio), (0, self.chunk_samples - len(audio)))
        length = jnp.array([len(audio)], jnp.int32)
        emitted, segments, partial, self._state = self._step(
            self.transducer, padded[None], length, self._state
        )
        emitted, segments, partial = jax.device_get((emitted, segments, partial))
        final = tokens_of(emitted)
        ended = []
        if segments is not None:
            for t in np.flatnonzero(segments.ended[:, 0]):
                ended.append(jax.tree.map(lambda x: x[t, 0], segments.alternatives))  # noqa: B023
        return DecodedChunk(final, tokens_of(partial), self._with_prefix(final, ended))

    def end(self) -> DecodedChunk:
        """Returns the remaining tokens after the last chunk."""
        emitted, alternatives = jax.device_get(self._finish(self._state))
        final = tokens_of(emitted)
        last = jax.tree.map(lambda x: x[0], alternatives)
        return DecodedChunk(
            final, (), self._with_prefix(final, [last] if self._alternatives > 1 else [])
        )

    def _with_prefix(
        self, final: list[Token], ended: list[Hypothesis]
    ) -> list[list[tuple[list[int], float]]]:
        """Returns complete alternatives, with final tokens prepended, of segments that ended."""
        if self._alternatives == 1:
            return []
        found = []
        for hypotheses in ended:
            readings = []
            for k in range(min(self._alternatives, len(hypotheses.length))):
                if hypotheses.log_prob[k] > -np.inf:
                    tokens = hypotheses.tokens[k, : hypotheses.length[k]].tolist()
                    readings.append((self._prefix + tokens, float(hypotheses.log_prob[k])))
            found.append(readings)
            self._prefix = []
        for token, *_ in final:
            if token == SEGMENT_END:
                self._prefix = []
            else:
                self._prefix.append(token)
        return found
