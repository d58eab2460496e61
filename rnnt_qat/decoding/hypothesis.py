"""Result of a search: tokens, their emission frames and their log-probabilities."""

import dataclasses

import flax.struct
import jax.numpy as jnp

from rnnt_qat.typing import BLANK_ID, Array, Bool, Float, Int

NO_FRAME = -1
"""Emission frame of an unused slot."""


@flax.struct.dataclass
class Hypothesis:
    """One hypothesis per row; partial and final results have the same structure.

    Attributes:
      tokens: int32 labels in [1, V), ``BLANK_ID`` past ``length``.
      length: int32 number of stored tokens, in [0, max_tokens].
      emission_frames: int32 index of the encoder frame (from the start of the stream) at which each
        token was emitted, -1 past ``length``.
      token_log_probs: float32 natural log-probability of each token at its emission, over all
        symbols including the blank; 0 past ``length``.
      log_prob: float32 natural log-probability of the hypothesis, as defined by the search.
      blank_log_prob: float32 sum of the log-probabilities of the blanks since the last token, or
        since the start if there is none. It measures the confidence in the trailing silence.
      overflow: int32 number of tokens emitted after the row was full. The prediction network has
        consumed them, but they are not stored; a nonzero value means that ``max_tokens`` is too
        small.
    """

    tokens: Int[Array, "*B max_tokens"]
    length: Int[Array, "*B"]
    emission_frames: Int[Array, "*B max_tokens"]
    token_log_probs: Float[Array, "*B max_tokens"]
    log_prob: Float[Array, "*B"]
    blank_log_prob: Float[Array, "*B"]
    overflow: Int[Array, "*B"]

    @classmethod
    def empty(cls, shape: tuple[int, ...], max_tokens: int) -> "Hypothesis":
        """Creates hypotheses without tokens and of probability 1, with leading axes ``shape``."""
        return cls(
            tokens=jnp.full((*shape, max_tokens), BLANK_ID, jnp.int32),
            length=jnp.zeros(shape, jnp.int32),
            emission_frames=jnp.full((*shape, max_tokens), NO_FRAME, jnp.int32),
            token_log_probs=jnp.zeros((*shape, max_tokens), jnp.float32),
            log_prob=jnp.zeros(shape, jnp.float32),
            blank_log_prob=jnp.zeros(shape, jnp.float32),
            overflow=jnp.zeros(shape, jnp.int32),
        )

    def append(
        self,
        token: Int[Array, "*B"],
        frame: Int[Array, "#*B"],
        log_prob: Float[Array, "*B"],
        emit: Bool[Array, "*B"],
    ) -> "Hypothesis":
        """Appends a token to the rows where ``emit`` is True.

        Args:
          token: label to append to each row.
          frame: encoder frame of the emission; broadcasts.
          log_prob: log-probability of the token; ``self.log_prob`` is updated by the search.
          emit: rows to which a token is appended.

        Returns:
          The extended hypotheses; rows that were full only count the token, in ``overflow``.
        """
        max_tokens = self.tokens.shape[-1]
        room = self.length < max_tokens
        here = (jnp.arange(max_tokens) == self.length[..., None]) & emit[..., None]
        return dataclasses.replace(
            self,
            tokens=jnp.where(here, token[..., None], self.tokens),
            emission_frames=jnp.where(here, frame[..., None], self.emission_frames),
            token_log_probs=jnp.where(here, log_prob[..., None], self.token_log_probs),
            blank_log_prob=jnp.where(emit, 0.0, self.blank_log_prob),
            length=self.length + (emit & room),
            overflow=self.overflow + (emit & ~room),
        )

    def first(self, count: Int[Array, "*B"]) -> "Hypothesis":
        """Returns the first ``count`` tokens; the scalars of each row are unchanged."""
        held = jnp.arange(self.tokens.shape[-1]) < count[..., None]
        return self._with_tokens(
            jnp.where(held, self.tokens, BLANK_ID),
            jnp.where(held, self.emission_frames, NO_FRAME),
            jnp.where(held, self.token_log_probs, 0.0),
            jnp.minimum(self.length, count),
        )

    def without_first(self, count: Int[Array, "*B"]) -> "Hypothesis":
        """Removes the first ``count`` tokens, which frees their slots."""
        max_tokens = self.tokens.shape[-1]
        length = jnp.maximum(self.length - count, 0)
        source = jnp.minimum(jnp.arange(max_tokens) + count[..., None], max_tokens - 1)
        held = jnp.arange(max_tokens) < length[..., None]

        def moved(x: Array, empty: float) -> Array:
            return jnp.where(held, jnp.take_along_axis(x, source, axis=-1), empty)

        return self._with_tokens(
            moved(self.tokens, BLANK_ID),
            moved(self.emission_frames, NO_FRAME),
            moved(self.token_log_probs, 0.0),
            length,
        )

    def _with_tokens(self, tokens, emission_frames, token_log_probs, length) -> "Hypothesis":
        return dataclasses.replace(
            self,
            tokens=tokens,
            emission_frames=emission_frames,
            token_log_probs=token_log_probs,
            length=length,
        )
