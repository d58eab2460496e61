"""Streams without an end: what is final leaves the state, so that it never grows.

After every chunk the tokens that can no longer change are handed over and their room is used again.
With endpoint rules a stream is cut into segments: where a rule holds, the best hypothesis is final
and the search begins anew at the next frame, in the middle of a chunk if need be, so the chunks
decide neither tokens nor endpoints.
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
"""Stands among emitted tokens where a segment ends."""


@flax.struct.dataclass
class Emitted:
    """What a chunk made final: tokens in order, and the ends of segments among them.

    Attributes:
      tokens: int32 labels in [1, V), or ``SEGMENT_END``; ``BLANK_ID`` past ``length``.
      emission_frames: int32 encoder frame of each, from the start of the stream; of a segment's
        end, the first frame that is not in the segment.
      token_log_probs: float32 as in ``Hypothesis``; of a segment's end, the log-probability of the
        whole segment.
      length: int32 tokens and ends.
    """

    tokens: Int[Array, "B M"]
    emission_frames: Int[Array, "B M"]
    token_log_probs: Float[Array, "B M"]
    length: Int[Array, "B"]

    @classmethod
    def nothing(cls, batch_size: int, room: int) -> "Emitted":
        """No token; room for so many."""
        return cls(
            jnp.full((batch_size, room), BLANK_ID, jnp.int32),
            jnp.full((batch_size, room), NO_FRAME, jnp.int32),
            jnp.zeros((batch_size, room), jnp.float32),
            jnp.zeros((batch_size,), jnp.int32),
        )

    def extend(self, more: Hypothesis, rows: Bool[Array, "B"]) -> "Emitted":
        """A hypothesis' tokens after these, in ``rows``."""
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
        """The end of a segment after these, in ``rows``."""
        end = Hypothesis.empty(rows.shape, 1).append(
            jnp.full(rows.shape, SEGMENT_END, jnp.int32), frame, log_prob, rows
        )
        return self.extend(end, rows)


@flax.struct.dataclass
class Segments:
    """All hypotheses of the segments that ended in a chunk, a frame each.

    Attributes:
      ended: where a segment ended after the frame.
      alternatives: ``Search.alternatives`` there, ``[T, B, K, ...]``, without the tokens that were
        handed over in earlier chunks; undefined where no segment ended.
    """

    ended: Bool[Array, "T B"]
    alternatives: Hypothesis


@flax.struct.dataclass
class LiveState:
    """What an endless stream carries from chunk to chunk.

    Attributes:
      frontend: samples that the next frames see.
      encoder: the encoder's state.
      search: the search's state, without what was handed over.
      began: int32 encoder frame at which the segment began.
      spoken_at: int32 frame of the segment's last handed-over token; before ``began`` if none was.
    """

    frontend: PyTree
    encoder: PyTree
    search: PyTree
    began: Int[Array, "B"]
    spoken_at: Int[Array, "B"]


class LiveDriver:
    """Runs a transducer over streams without an end.

    Args:
      frontend: audio to features.
      search: how to search; its ``max_tokens`` is set to what a chunk needs.
      chunk_frames: most encoder frames of a chunk.
      endpoint: where segments end; None: nowhere but at the end of the stream.
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
        """State before the first sample."""
        state = self._driver.initial_state(transducer, batch_size)
        began = jnp.zeros((batch_size,), jnp.int32)
        return LiveState(state.frontend, state.encoder, state.search, began, began + NO_FRAME)

    def partial(self, state: LiveState) -> Hypothesis:
        """The best continuation of what was handed over; the next chunk may change it."""
        return self._search.hypothesis(state.search)

    def alternatives(self, state: LiveState) -> Hypothesis:
        """All continuations ``[B, K]``, the best one first."""
        return self._search.alternatives(state.search)

    def step(
        self,
        transducer: Transducer,
        audio: Float[Array, "B N"],
        audio_lengths: Int[Array, "B"],
        state: LiveState,
    ) -> tuple[Emitted, LiveState]:
        """One chunk in, what it made final out.

        Args:
          transducer: the recognizer.
          audio: samples in [-1, 1); N is ``chunk_frames`` whole encoder frames or fewer.
          audio_lengths: valid samples in this chunk: N while a row goes on, fewer in the chunk it
            ends in, 0 afterwards.
          state: what the previous chunk returned.
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
        """``step``, with all hypotheses of the segments that ended (None without rules)."""
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
        """The rest of streams that have ended, and their last segment's end."""
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
        """Searches a frame at a time, asking the rules after each."""
        B, reduction = features.shape[0], transducer.time_reduction
        frame_s = self._driver.encoder_frame_ms(transducer) / 1000
        first_search = self._search.initial_state(transducer, B)
        first_encoder = transducer.initial_encoder_state(B)
        if endpoint.restart_encoder:  # it cannot run ahead of an endpoint in its chunk
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
            heard = UtteranceFrames.of(search.frames, state.began, state.spoken_at, best)
            ended = valid[:, 0] & endpoint.reached(frame_s, heard)  # [B]

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
                jnp.any(ended), end, lambda *nothing: nothing, state, emitted
            )
            return (state, emitted), segments

        (state, emitted), segments = jax.lax.scan(
            frame, (state, emitted), (jnp.moveaxis(x, 1, 0), jnp.moveaxis(valid, 1, 0))
        )
        return emitted, segments, state
