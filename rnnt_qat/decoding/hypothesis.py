"""What a search gives back: tokens, when each was emitted, and how likely the search held them."""

import dataclasses

import flax.struct
import jax.numpy as jnp

from rnnt_qat.typing import BLANK_ID, Array, Bool, Float, Int


@flax.struct.dataclass
class Hypothesis:
    """One hypothesis a row; a streaming partial has the same shape as a final result.

    Attributes:
      tokens: int32 labels in [1, V), ``BLANK_ID`` past ``length``.
      length: int32 tokens held, in [0, max_tokens].
      emission_frames: int32 index of the encoder frame (from the start of the stream) at which each
        token was emitted, -1 past ``length``.
      log_prob: float32 natural log-probability of the hypothesis, as its search defines it.
      overflow: int32 tokens emitted after the row was full. They drove the search on (the
        prediction network has heard them) but are not held: other than 0 means ``max_tokens`` is
        too small.
    """

    tokens: Int[Array, "*B max_tokens"]
    length: Int[Array, "*B"]
    emission_frames: Int[Array, "*B max_tokens"]
    log_prob: Float[Array, "*B"]
    overflow: Int[Array, "*B"]

    @classmethod
    def empty(cls, shape: tuple[int, ...], max_tokens: int) -> "Hypothesis":
        """Hypotheses of no token and probability 1, of leading ``shape``."""
        return cls(
            tokens=jnp.full((*shape, max_tokens), BLANK_ID, jnp.int32),
            length=jnp.zeros(shape, jnp.int32),
            emission_frames=jnp.full((*shape, max_tokens), -1, jnp.int32),
            log_prob=jnp.zeros(shape, jnp.float32),
            overflow=jnp.zeros(shape, jnp.int32),
        )

    def append(
        self, token: Int[Array, "*B"], frame: Int[Array, "#*B"], emit: Bool[Array, "*B"]
    ) -> "Hypothesis":
        """Rows where ``emit`` is True grow by ``token``, emitted at ``frame`` (it broadcasts)."""
        max_tokens = self.tokens.shape[-1]
        room = self.length < max_tokens
        here = (jnp.arange(max_tokens) == self.length[..., None]) & emit[..., None]
        return dataclasses.replace(
            self,
            tokens=jnp.where(here, token[..., None], self.tokens),
            emission_frames=jnp.where(here, frame[..., None], self.emission_frames),
            length=self.length + (emit & room),
            overflow=self.overflow + (emit & ~room),
        )
