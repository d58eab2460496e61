"""Streaming recognition: audio chunks -> frontend -> encoder -> search, all with carried state.

``step`` is the whole recognizer for one chunk: what a live stream calls. ``decode`` scans the same
step over a recorded batch inside one program, so evaluation measures what streaming serves.
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
    """What a stream carries from chunk to chunk: the states of its three stages."""

    frontend: PyTree
    encoder: PyTree
    search: PyTree


@dataclasses.dataclass(frozen=True)
class ChunkDriver:
    """Runs a transducer over audio that arrives in chunks.

    Attributes:
      frontend: audio to features.
      search: encoder frames to hypotheses.
    """

    frontend: Frontend
    search: Search

    def encoder_frame_ms(self, transducer: Transducer) -> float:
        """Milliseconds of audio that one encoder frame advances."""
        return self.frontend.config.frame_ms * transducer.time_reduction

    def encoder_frame_samples(self, transducer: Transducer) -> int:
        """Samples of audio that one encoder frame advances."""
        return self.frontend.config.samples_per_frame * transducer.time_reduction

    def chunk_samples(self, transducer: Transducer, chunk_ms: float) -> int:
        """Samples of a chunk of ``chunk_ms``; ValueError unless it is whole encoder frames."""
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
        """State before the first sample."""
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
        """One chunk in; ``hypothesis`` of the returned state is the partial result.

        Args:
          transducer: the recognizer.
          audio: samples in [-1, 1); N is a whole number of encoder frames.
          audio_lengths: valid samples in this chunk: N while a row goes on, fewer in the chunk it
            ends in, 0 afterwards.
          state: what the previous chunk returned.
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
        """The best hypothesis so far."""
        return self.search.hypothesis(state.search)

    def decode(
        self,
        transducer: Transducer,
        audio: Float[Array, "B N"],
        audio_lengths: Int[Array, "B"],
        chunk_ms: float | None,
    ) -> Hypothesis:
        """A batch of recordings, streamed in chunks of ``chunk_ms`` (None: in one piece)."""
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
