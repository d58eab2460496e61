"""Live transcription: audio in as it comes, partial transcripts out."""

import dataclasses
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.batch import to_float
from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.search import SearchConfig
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.typing import Int


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What was understood so far.

    Attributes:
      text: the best hypothesis.
      seconds: audio heard.
      final: whether the stream has ended.
    """

    text: str
    seconds: float
    final: bool


class LiveTranscriber:
    """Decodes one stream at a time with one compiled step a chunk.

    Args:
      recognizer: what recognizes.
      search: how.
      chunk_ms: audio that is decoded at once; a multiple of the encoder's frame.

    Attributes:
      chunk_samples: samples of a chunk.
      sample_rate_hz: rate of the audio that it takes.
    """

    def __init__(self, recognizer: Recognizer, search: SearchConfig, chunk_ms: float):
        self._tokenizer = recognizer.tokenizer
        self._transducer = recognizer.transducer()
        self._driver = ChunkDriver(recognizer.frontend, search.build())
        self._step = jax.jit(self._driver.step)
        self.chunk_samples = self._driver.chunk_samples(self._transducer, chunk_ms)
        self.sample_rate_hz = recognizer.frontend.config.log_mel.sample_rate_hz

    def transcribe(self, pieces: Iterable[Int[np.ndarray, "N"]]) -> Iterator[Transcript]:
        """Transcripts of a stream, one a chunk, the last one final.

        Args:
          pieces: int16 samples, in pieces of any length.
        """
        state = self._driver.initial_state(self._transducer, 1)
        heard = 0
        transcript = Transcript("", 0.0, True)
        for chunk in _chunks(pieces, self.chunk_samples):
            heard += len(chunk)
            audio = np.pad(to_float(chunk), (0, self.chunk_samples - len(chunk)))
            length = jnp.array([len(chunk)], jnp.int32)
            state = self._step(self._transducer, audio[None], length, state)
            hypothesis = self._driver.hypothesis(state)
            tokens = np.asarray(hypothesis.tokens[0, : int(hypothesis.length[0])]).tolist()
            text = self._tokenizer.decode(tokens)
            transcript = Transcript(text, heard / self.sample_rate_hz, False)
            yield transcript
        yield dataclasses.replace(transcript, final=True)


def _chunks(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples in pieces of ``size``, the last one shorter."""
    rest = np.zeros(0, np.int16)
    for piece in pieces:
        rest = np.concatenate([rest, piece])
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
    if len(rest):
        yield rest
