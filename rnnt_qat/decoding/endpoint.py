"""Endpoint rules on trailing silence and utterance length, after Kaldi's online recognizers.

A rule holds when all of its conditions hold, and an endpoint is a frame at which any rule holds.
The conditions depend only on encoder frames and the best hypothesis and are checked after every
frame, so the chunking of the audio does not move an endpoint.

Reference: Povey et al., "The Kaldi Speech Recognition Toolkit" (2011), ``online-endpoint.h``, the
source of the five default rules. Kaldi's relative cost compares the best final state to the best
state overall. A transducer has no final states; the cost of its blanks takes that place, as a
measure of the confidence that the speaker has finished.
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
    """A set of conditions; the utterance ends when all of them hold.

    Attributes:
      must_contain_speech: whether a token must have been emitted since the last endpoint.
      min_trailing_silence_s: minimum time since the frame of the last token, or since the last
        endpoint if there is no token, in seconds. The frame of the token itself is not counted.
      max_relative_cost: maximum of the mean ``-log P(blank)`` in nats over the blanks since the
        last token, including the blank that ended its frame; infinity disables the condition.
      min_utterance_s: minimum time since the last endpoint, in seconds.
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
    """Options of endpoint detection in a continuous stream.

    Attributes:
      rules: rules, any of which ends the utterance. The defaults are Kaldi's: 5 s without speech;
        after speech, 0.5 s of silence at a relative cost of at most 0.05, 1 s at most 0.2, or 2 s
        at any cost; 20 s in total.
      restart_encoder: whether an endpoint resets the encoder in addition to the search (hypotheses
        and prediction network), so that the text of a segment depends only on its own audio. The
        encoder then runs one frame at a time.
    """

    rules: tuple[EndpointRule, ...] = _KALDI_RULES
    restart_encoder: bool = False

    def __post_init__(self):
        if not self.rules:
            raise ValueError("EndpointConfig.rules is empty: give a rule, or no EndpointConfig")

    def reached(self, frame_s: float, frames: "UtteranceFrames") -> Bool[Array | np.ndarray, "B"]:
        """Returns True for the rows whose utterance ends.

        Args:
          frame_s: duration of an encoder frame in seconds.
          frames: measurements of the utterance of each row.
        """
        over = frames.length < 0  # all False, as the same array type (JAX or NumPy) as the frames
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
    """Measurements of the current utterance of each row, the input of the rules.

    Attributes:
      length: encoder frames since the last endpoint.
      trailing: frames after the frame of the last token, or ``length`` if there is none.
      spoken: whether a token has been emitted since the last endpoint.
      relative_cost: mean cost of a blank in nats, see ``EndpointRule``.
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
        """Measures the utterance of each row from the best hypothesis.

        Args:
          frames: encoder frames since the start of the stream.
          began: first frame of the utterance.
          spoken_at: frame of the last token that was handed over; below ``began`` if there is none.
          hypothesis: best hypothesis, without the tokens that were handed over.
        """
        last = jnp.max(
            hypothesis.emission_frames, axis=-1
        )  # the maximum is the last: frames never decrease
        last = jnp.maximum(last, spoken_at)
        spoken = last >= began
        trailing = frames - jnp.where(spoken, last + 1, began)
        cost = -hypothesis.blank_log_prob / jnp.maximum(trailing + spoken, 1)
        return cls(frames - began, trailing, spoken, cost)


def _frames(seconds: float, frame_s: float) -> int:
    """Converts seconds to frames, rounded up except for a rounding error of the division."""
    return math.ceil(seconds / frame_s - 1e-6)
