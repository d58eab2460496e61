"""Rules that end an utterance on trailing silence and length, as Kaldi's recognizers have them.

A rule holds when all of its conditions do, and an endpoint is where any rule holds. The conditions
are about encoder frames and the best hypothesis alone, so they are checked after every frame, and
the audio's chunks do not move an endpoint.

Reference: Povey et al., "The Kaldi Speech Recognition Toolkit" (2011), ``online-endpoint.h``, whose
five default rules these are. Kaldi's relative cost asks how much worse it is to end in a final
state than anywhere; a transducer has no final states, and says instead how sure it is that nothing
more is being said, by the probability of its blanks.
"""

import dataclasses
import math

import flax.struct
import jax.numpy as jnp
import numpy as np

from rnnt_qat.decoding.hypothesis import Hypothesis
from rnnt_qat.typing import Array, Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class EndpointRule:
    """One set of conditions; the utterance is over when all of them hold.

    Attributes:
      must_contain_speech: a token has been emitted since the last endpoint.
      min_trailing_silence_s: seconds of frames since the last token (or since the last endpoint,
        where there is no token), the frame of its emission not counted.
      max_relative_cost: most nats that a blank since the last token costs on average, that is
        ``-log P(blank)``, the one that ended the token's frame among them; infinity asks nothing.
      min_utterance_s: seconds since the last endpoint.
    """

    must_contain_speech: bool = True
    min_trailing_silence_s: float = 0.0
    max_relative_cost: float = math.inf
    min_utterance_s: float = 0.0

    def __post_init__(self):
        for name in ("min_trailing_silence_s", "max_relative_cost", "min_utterance_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"EndpointRule.{name} must be 0 or more, got {getattr(self, name)}"
                )
        if self.min_trailing_silence_s == 0 and self.min_utterance_s == 0:
            raise ValueError(
                "EndpointRule needs min_trailing_silence_s or min_utterance_s above 0: it would "
                "end the utterance at every frame"
            )


_KALDI_RULES = (
    EndpointRule(must_contain_speech=False, min_trailing_silence_s=5.0),
    EndpointRule(min_trailing_silence_s=0.5, max_relative_cost=0.05),
    EndpointRule(min_trailing_silence_s=1.0, max_relative_cost=0.2),
    EndpointRule(min_trailing_silence_s=2.0),
    EndpointRule(must_contain_speech=False, min_utterance_s=20.0),
)


@dataclasses.dataclass(frozen=True)
class EndpointConfig:
    """When an utterance of an endless stream is over, and what begins anew then.

    Attributes:
      rules: any of them ends it. The default ones are Kaldi's: 5 s of nothing; half a second after
        speech if the network is sure, 1 s if it is nearly sure, 2 s in any case; 20 s at most.
      restart_encoder: at an endpoint the encoder begins anew as well as the search (hypotheses and
        prediction network), so that a segment's text is that of its audio alone. The encoder then
        computes a frame at a time.
    """

    rules: tuple[EndpointRule, ...] = _KALDI_RULES
    restart_encoder: bool = False

    def __post_init__(self):
        if not self.rules:
            raise ValueError("EndpointConfig.rules is empty: give a rule, or no EndpointConfig")

    def reached(self, frame_s: float, frames: "UtteranceFrames") -> Bool[Array | np.ndarray, "B"]:
        """Rows whose utterance is over.

        Args:
          frame_s: seconds of an encoder frame.
          frames: what the rows' utterances are made of.
        """
        over = frames.length < 0  # nowhere; of the kind of array that the frames are
        for rule in self.rules:
            over |= (
                (frames.spoken | (not rule.must_contain_speech))
                & (frames.trailing >= _frames(rule.min_trailing_silence_s, frame_s))
                & (frames.relative_cost <= rule.max_relative_cost)
                & (frames.length >= _frames(rule.min_utterance_s, frame_s))
            )
        return over


@flax.struct.dataclass
class UtteranceFrames:
    """What the rules look at, a row each.

    Attributes:
      length: encoder frames since the last endpoint.
      trailing: of these, frames after the last token's.
      spoken: whether there is a token.
      relative_cost: nats a blank, see ``EndpointRule``.
    """

    length: Int[Array | np.ndarray, "B"]
    trailing: Int[Array | np.ndarray, "B"]
    spoken: Bool[Array | np.ndarray, "B"]
    relative_cost: Float[Array | np.ndarray, "B"]

    @classmethod
    def of(
        cls,
        frames: Int[Array, "B"],
        began: Int[Array, "B"],
        spoken_at: Int[Array, "B"],
        hypothesis: Hypothesis,
    ) -> "UtteranceFrames":
        """Of a search's best hypothesis.

        Args:
          frames: encoder frames since the stream began.
          began: the first frame of the utterance.
          spoken_at: frame of the last token that was handed over, before ``began`` if none was.
          hypothesis: what is not handed over yet.
        """
        last = jnp.max(hypothesis.emission_frames, axis=-1)  # frames never fall
        last = jnp.maximum(last, spoken_at)
        spoken = last >= began
        trailing = frames - jnp.where(spoken, last + 1, began)
        cost = -hypothesis.blank_log_prob / jnp.maximum(trailing + spoken, 1)
        return cls(frames - began, trailing, spoken, cost)


def _frames(seconds: float, frame_s: float) -> int:
    """Frames that last so long; a frame that ends a rounding error short of it counts."""
    return math.ceil(seconds / frame_s - 1e-6)
