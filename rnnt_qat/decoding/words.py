"""Words with times and confidences, from emitted tokens.

A word starts at the start of the encoder frame that emitted its first token and ends at the end of
the frame that emitted its last token. A transducer may emit a token late, so these are emission
times, usually some tenths of a second after the sound.

The confidence of a word is the geometric mean of the probabilities of its tokens at emission, over
all symbols including the blank: ``exp(mean(token_log_probs))``. The mean keeps it from decreasing
with the length of the word. Under an integer policy it is computed from the quantized logits.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable

SPACE = " "


@dataclasses.dataclass(frozen=True)
class Word:
    """A recognized word.

    Attributes:
      text: text of the word, without spaces.
      start_s: start, in seconds from the start of the stream.
      end_s: end, in seconds from the start of the stream; at least ``start_s``.
      confidence: mean token probability in (0, 1], as defined in the module docstring.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float


class WordBuilder:
    """Incremental conversion of tokens to words; keeps only the tokens of the incomplete word.

    Args:
      piece: maps a label to its text, with a space where a word starts.
      frame_s: duration of an encoder frame in seconds.
    """

    def __init__(self, piece: Callable[[int], str], frame_s: float):
        self._piece = piece
        self._frame_s = frame_s
        self._open: list[tuple[str, int, float]] = []  # text, frame, log-probability

    def add(self, tokens: Iterable[tuple[int, int, float]]) -> list[Word]:
        """Adds tokens and returns the words they complete.

        A word is complete when the next one starts.

        Args:
          tokens: ``(label, emission frame, log-probability)`` of each token.
        """
        words = []
        for token, frame, log_prob in tokens:
            # A piece may hold several words ("of the"), or a space alone.
            for position, text in enumerate(self._piece(token).split(SPACE)):
                if position:
                    words += self.end()
                if text:
                    self._open.append((text, frame, log_prob))
        return words

    def end(self) -> list[Word]:
        """Completes the last word; returns it, or an empty list if there is none."""
        if not self._open:
            return []
        texts, frames, log_probs = zip(*self._open, strict=True)
        self._open = []
        return [
            Word(
                text="".join(texts),
                start_s=round(frames[0] * self._frame_s, 6),
                end_s=round((frames[-1] + 1) * self._frame_s, 6),
                confidence=math.exp(sum(log_probs) / len(log_probs)),
            )
        ]

    def with_more(self, tokens: Iterable[tuple[int, int, float]]) -> list[Word]:
        """Returns the words that result if the stream ended after ``tokens``; changes no state."""
        rest = WordBuilder(self._piece, self._frame_s)
        rest._open = list(self._open)
        return [*rest.add(tokens), *rest.end()]
