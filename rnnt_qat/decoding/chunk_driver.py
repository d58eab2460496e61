"""Streaming recognition: audio chunks -> frontend -> encoder -> search, all with carried state.

``step`` runs the whole recognizer on one chunk. ``decode`` scans the same step over a batch of
recordings inside one program, so evaluation runs the same computation as a live stream.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.decoding.hypothesis import Hypothesis
from rnnt_qat.decoding.search import Search
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.typing import Array, Float, Int, PyTree


@flax.struct.dataclass
class StreamState:
    """State of a stream between two chunks.

    Attributes:
      frontend: state of the frontend (past samples).
      encoder: state of the encoder.
      search: state of the search.
    """

    frontend: PyTree
    encoder: PyTree
    search: PyTree


@dataclasses.dataclass(frozen=True)
class ChunkDriver:
    """Runs a transducer over audio that arrives in chunks.

    Attributes:
      frontend: computes features from audio.
      search: computes hypotheses from encoder frames.
    """

    frontend: Frontend
    search: Search

    def encoder_frame_ms(self, transducer: Transducer) -> float:
        """Returns the hop of an encoder frame in milliseconds."""
        return self.frontend.config.frame_ms * transducer.time_reduction

    def encoder_frame_samples(self, transducer: Transducer) -> int:
        """Returns the hop of an encoder frame in samples."""
        return self.frontend.config.samples_per_frame * transducer.time_reduction

    def chunk_samples(self, transducer: Transducer, chunk_ms: float) -> int:
        """Converts the duration of a chunk to samples.

        Args:
          transducer: the model; its time reduction defines the encoder frame.
          chunk_ms: duration of a chunk in milliseconds.

        Raises:
          ValueError: the duration is not a whole number of encoder frames.
        """
        frame_ms = self.encoder_frame_ms(transducer)
        frames = round(chunk_ms / frame_ms)
        if frames < 1 or abs(frames * frame_ms - chunk_ms) > 1e-6 * frame_ms:
            raise ValueError(
                f"chunk_ms={chunk_ms:g} is not a multiple of the encoder frame of {frame_ms:g} ms "
                f"({transducer.time_reduction} feature frames of "
                f"{self.frontend.config.frame_ms:g} ms each); the nearest is "
                f"{max(frames, 1) * frame_ms:g}"
            )
        return frames * self.encoder_frame_samples(transducer)

    def initial_state(self, transducer: Transducer, batch_size: int) -> StreamState:
        """Returns the state before the first sample."""
        return StreamState(
            frontend=self.frontend.initial_state(batch_size),
            encoder=transducer.initial_encoder_state(batch_size),
            search=self.search.initial_state(transducer, batch_size),
        )

    def step(
        self,
        transducer: Transducer,
        audio: Float[Array, "B N"],
        audio_lengths: Int[Array, "B"],
        state: StreamState,
    ) -> StreamState:
        """Processes one chunk; ``hypothesis`` of the returned state is the partial result.

        Args:
          transducer: the model.
          audio: samples in [-1, 1); N is a multiple of ``encoder_frame_samples``.
          audio_lengths: valid samples of each row in this chunk: N while its recording continues,
            fewer in the chunk in which it ends, 0 afterwards.
          state: state after the previous chunk.

        Returns:
          The state after the chunk.

        Raises:
          ValueError: N is not a multiple of the encoder frame.
        """
        unit = self.encoder_frame_samples(transducer)
        if audio.shape[1] % unit:
            raise ValueError(
                f"a chunk of {audio.shape[1]} samples is not a multiple of the encoder frame of "
                f"{unit} samples: use `chunk_samples`"
            )
        features, mask, frontend_state = self.frontend(audio, audio_lengths, state.frontend)
        encoded, encoded_mask, encoder_state = transducer.encode(features, mask, state.encoder)
        search_state = self.search.step(transducer, encoded, encoded_mask, state.search)
        return StreamState(frontend_state, encoder_state, search_state)

    def hypothesis(self, state: StreamState) -> Hypothesis:
        """Returns the best hypothesis so far."""
        return self.search.hypothesis(state.search)

    def decode(
        self,
        transducer: Transducer,
        audio: Float[Array, "B N"],
        audio_lengths: Int[Array, "B"],
        chunk_ms: float | None,
    ) -> Hypothesis:
        """Recognizes a batch of recordings, streamed in chunks.

        Args:
          transducer: the model.
          audio: samples in [-1, 1), zero-padded.
          audio_lengths: valid samples of each row.
          chunk_ms: duration of a chunk in milliseconds; None processes the audio in one chunk.

        Returns:
          The best hypothesis of each row.
        """
        B, N = audio.shape
        unit = self.encoder_frame_samples(transducer)
        chunk = (
            -(-N // unit) * unit if chunk_ms is None else self.chunk_samples(transducer, chunk_ms)
        )
        num_chunks = -(-N // chunk)
        padded = jnp.pad(audio, ((0, 0), (0, num_chunks * chunk - N)))
        chunks = jnp.moveaxis(padded.reshape(B, num_chunks, chunk), 1, 0)  # [C, B, chunk]
        starts = jnp.arange(num_chunks) * chunk
        lengths = jnp.clip(audio_lengths[None, :] - starts[:, None], 0, chunk)  # [C, B]

        def step(state, chunk):
            samples, lengths = chunk
            return self.step(transducer, samples, lengths, state), None

        state, _ = jax.lax.scan(step, self.initial_state(transducer, B), (chunks, lengths))
        return self.hypothesis(state)
