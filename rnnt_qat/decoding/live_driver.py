"""Recognition of streams of unbounded length in constant memory.

After every chunk the tokens that can no longer change are handed over, which frees their capacity
in the state. With endpoint rules a stream is divided into segments: where a rule holds, the best
hypothesis becomes final and the search restarts at the next frame, if necessary within a chunk.
Neither tokens nor endpoints depend on the chunking.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.endpoint import EndpointConfig, UtteranceFrames
from rnnt_qat.decoding.hypothesis import NO_FRAME, Hypothesis
from rnnt_qat.decoding.search import SearchConfig, select_rows
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.typing import BLANK_ID, Array, Bool, Float, Int, PyTree

SEGMENT_END = -1
"""Marker of the end of a segment in a sequence of emitted tokens."""


@flax.struct.dataclass
class Emitted:
    """Final output of a chunk: tokens in order, interspersed with segment ends.

    Attributes:
      tokens: int32 labels in [1, V), or ``SEGMENT_END``; ``BLANK_ID`` past ``length``.
      emission_frames: int32 encoder frame of each entry, from the start of the stream; for a
        segment end, the first frame after the segment.
      token_log_probs: float32 as in ``Hypothesis``; for a segment end, the log-probability of the
        whole segment.
      length: int32 number of tokens and segment ends.
    """

    tokens: Int[Array, "B M"]
    emission_frames: Int[Array, "B M"]
    token_log_probs: Float[Array, "B M"]
    length: Int[Array, "B"]

    @classmethod
    def nothing(cls, batch_size: int, room: int) -> "Emitted":
        """Creates empty output with capacity for ``room`` entries per row."""
        return cls(
            jnp.full((batch_size, room), BLANK_ID, jnp.int32),
            jnp.full((batch_size, room), NO_FRAME, jnp.int32),
            jnp.zeros((batch_size, room), jnp.float32),
            jnp.zeros((batch_size,), jnp.int32),
        )

    def extend(self, more: Hypothesis, rows: Bool[Array, "B"]) -> "Emitted":
        """Appends the tokens of a hypothesis in the rows where ``rows`` is True."""
        added = jnp.where(rows, more.length, 0)
        index = jnp.arange(self.tokens.shape[1]) - self.length[:, None]  # [B, M]
        here = (index >= 0) & (index < added[:, None])
        source = jnp.clip(index, 0, more.tokens.shape[1] - 1)

        def put(ours: Array, theirs: Array) -> Array:
            return jnp.where(here, jnp.take_along_axis(theirs, source, axis=1), ours)

        return Emitted(
            put(self.tokens, more.tokens),
            put(self.emission_frames, more.emission_frames),
            put(self.token_log_probs, more.token_log_probs),
            self.length + added,
        )

    def end_segment(
        self, frame: Int[Array, "B"], log_prob: Float[Array, "B"], rows: Bool[Array, "B"]
    ) -> "Emitted":
        """Appends a segment end in the rows where ``rows`` is True.

        Args:
          frame: first encoder frame after the segment.
          log_prob: log-probability of the segment.
          rows: rows in which a segment ends.
        """
        end = Hypothesis.empty(rows.shape, 1).append(
            jnp.full(rows.shape, SEGMENT_END, jnp.int32), frame, log_prob, rows
        )
        return self.extend(end, rows)


@flax.struct.dataclass
class Segments:
    """All hypotheses of the segments that ended in a chunk, indexed by encoder frame.

    Attributes:
      ended: True where a segment ended after the frame.
      alternatives: ``Search.alternatives`` at that frame, ``[T, B, K, ...]``, without the tokens
        that were handed over in earlier chunks; undefined where no segment ended.
    """

    ended: Bool[Array, "T B"]
    alternatives: Hypothesis


@flax.struct.dataclass
class LiveState:
    """State of a stream of unbounded length between two chunks.

    Attributes:
      frontend: state of the frontend (past samples).
      encoder: state of the encoder.
      search: state of the search, without the tokens that were handed over.
      began: int32 first encoder frame of the current segment.
      spoken_at: int32 frame of the last handed-over token of the segment; below ``began`` if there
        is none.
    """

    frontend: PyTree
    encoder: PyTree
    search: PyTree
    began: Int[Array, "B"]
    spoken_at: Int[Array, "B"]


class LiveDriver:
    """Driver of a transducer over streams of unbounded length.

    Args:
      frontend: computes features from audio.
      search: options of the search; ``max_tokens`` is replaced by the capacity that a chunk needs.
      chunk_frames: maximum number of encoder frames per chunk.
      endpoint: endpoint rules; None ends the only segment at the end of the stream.
    """

    def __init__(
        self,
        frontend: Frontend,
        search: SearchConfig,
        chunk_frames: int,
        endpoint: EndpointConfig | None = None,
    ):
        self.chunk_frames = chunk_frames
        self.endpoint = endpoint
        self._search = search.for_chunks(chunk_frames).build()
        self._driver = ChunkDriver(frontend, self._search)

    def initial_state(self, transducer: Transducer, batch_size: int) -> LiveState:
        """Returns the state before the first sample."""
        state = self._driver.initial_state(transducer, batch_size)
        began = jnp.zeros((batch_size,), jnp.int32)
        return LiveState(state.frontend, state.encoder, state.search, began, began + NO_FRAME)

    def partial(self, state: LiveState) -> Hypothesis:
        """Returns the best continuation of the final tokens; the next chunk may change it."""
        return self._search.hypothesis(state.search)

    def alternatives(self, state: LiveState) -> Hypothesis:
        """Returns all continuations of the final tokens, ``[B, K]``, best first."""
        return self._search.alternatives(state.search)

    def step(
        self,
        transducer: Transducer,
        audio: Float[Array, "B N"],
        audio_lengths: Int[Array, "B"],
        state: LiveState,
    ) -> tuple[Emitted, LiveState]:
        """Processes one chunk and returns the output that became final.

        Args:
          transducer: the model.
          audio: samples in [-1, 1); N is at most ``chunk_frames`` whole encoder frames.
          audio_lengths: valid samples of each row in this chunk: N while its stream continues,
            fewer in the chunk in which it ends, 0 afterwards.
          state: state after the previous chunk.

        Returns:
          The final output of the chunk and the state after it.

        Raises:
          ValueError: N is not a whole number of encoder frames, or too many of them.
        """
        emitted, _, state = self.step_with_segments(transducer, audio, audio_lengths, state)
        return emitted, state

    def step_with_segments(
        self,
        transducer: Transducer,
        audio: Float[Array, "B N"],
        audio_lengths: Int[Array, "B"],
        state: LiveState,
    ) -> tuple[Emitted, Segments | None, LiveState]:
        """Runs ``step``; also returns the hypotheses of ended segments (None without rules)."""
        frames = audio.shape[1] / self._driver.encoder_frame_samples(transducer)
        if not frames.is_integer() or frames > self.chunk_frames:
            raise ValueError(
                f"a chunk of {audio.shape[1]} samples is {frames:g} encoder frames: it must be "
                f"whole frames, at most chunk_frames={self.chunk_frames}"
            )
        features, mask, frontend = self._driver.frontend(audio, audio_lengths, state.frontend)
        state = dataclasses.replace(state, frontend=frontend)
        room = self._search.hypothesis(state.search).tokens.shape[-1] + int(frames)
        emitted, segments = Emitted.nothing(audio.shape[0], room), None
        if self.endpoint is None:
            encoded, mask, encoder = transducer.encode(features, mask, state.encoder)
            search = self._search.step(transducer, encoded, mask, state.search)
            state = dataclasses.replace(state, encoder=encoder, search=search)
        else:
            emitted, segments, state = self._by_frame(
                self.endpoint, transducer, features, mask, state, emitted
            )
        handed, search = self._search.hand_over(state.search)
        spoken_at = jnp.maximum(state.spoken_at, jnp.max(handed.emission_frames, axis=-1))
        state = dataclasses.replace(state, search=search, spoken_at=spoken_at)
        everywhere = jnp.ones(emitted.length.shape, bool)
        return emitted.extend(handed, everywhere), segments, state

    def finish(self, state: LiveState) -> Emitted:
        """Returns the remaining tokens of finished streams and the end of their last segment."""
        best = self._search.hypothesis(state.search)
        rows = jnp.ones(best.length.shape, bool)
        emitted = Emitted.nothing(rows.shape[0], best.tokens.shape[1] + 1).extend(best, rows)
        return emitted.end_segment(state.search.frames, best.log_prob, rows)

    def _by_frame(
        self,
        endpoint: EndpointConfig,
        transducer: Transducer,
        features: Float[Array, "B T F"],
        mask: Bool[Array, "B T"],
        state: LiveState,
        emitted: Emitted,
    ) -> tuple[Emitted, Segments, LiveState]:
        """Runs the search frame by frame and evaluates the endpoint rules after each frame."""
        B, reduction = features.shape[0], transducer.time_reduction
        frame_s = self._driver.encoder_frame_ms(transducer) / 1000
        first_search = self._search.initial_state(transducer, B)
        first_encoder = transducer.initial_encoder_state(B)
        if endpoint.restart_encoder:  # the encoder must not run past an endpoint within the chunk
            x = features.reshape(B, -1, reduction, features.shape[-1])
            valid = mask.reshape(B, -1, reduction)
        else:
            x, valid, encoder = transducer.encode(features, mask, state.encoder)
            x, valid = x[:, :, None], valid[:, :, None]
            state = dataclasses.replace(state, encoder=encoder)

        def frame(carry, frame):
            state, emitted = carry
            x, valid = frame  # [B, 1 or reduction, ...], [B, 1 or reduction]
            if endpoint.restart_encoder:
                x, valid, encoder = transducer.encode(x, valid, state.encoder)
                state = dataclasses.replace(state, encoder=encoder)
            search = self._search.step(transducer, x, valid, state.search)
            state = dataclasses.replace(state, search=search)
            best = self._search.hypothesis(search)
            utterance = UtteranceFrames.of(search.frames, state.began, state.spoken_at, best)
            ended = valid[:, 0] & endpoint.reached(frame_s, utterance)  # [B]

            def end(state: LiveState, emitted: Emitted) -> tuple[LiveState, Emitted]:
                fresh = dataclasses.replace(first_search, frames=search.frames)
                encoder = state.encoder
                if endpoint.restart_encoder:
                    encoder = select_rows(ended, first_encoder, encoder)
                emitted = emitted.extend(best, ended)
                return dataclasses.replace(
                    state,
                    encoder=encoder,
                    search=select_rows(ended, fresh, search),
                    began=jnp.where(ended, search.frames, state.began),
                    spoken_at=jnp.where(ended, NO_FRAME, state.spoken_at),
                ), emitted.end_segment(search.frames, best.log_prob, ended)

            segments = Segments(ended, self._search.alternatives(search))
            state, emitted = jax.lax.cond(
                jnp.any(ended), end, lambda *unchanged: unchanged, state, emitted
            )
            return (state, emitted), segments

        (state, emitted), segments = jax.lax.scan(
            frame, (state, emitted), (jnp.moveaxis(x, 1, 0), jnp.moveaxis(valid, 1, 0))
        )
        return emitted, segments, state
