"""Words with times and confidences, from emitted tokens.

A word begins at the start of the encoder frame that emitted its first token and ends at the end of
the frame that emitted its last one. A transducer is free to emit late, so these are the times at
which the network knew, usually some tenths of a second after the sound.

A word's confidence is the geometric mean of what the network gave each of its tokens, of all
symbols and the blank, at the frame of its emission: ``exp(mean(token_log_probs))``. It does not
fall with a word's length, and on a chip it comes from the chip's own logits.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable

SPACE = " "


@dataclasses.dataclass(frozen=True)
class Word:
    """A recognized word.

    Attributes:
      text: without spaces.
      start_s: seconds from the start of the stream.
      end_s: likewise; at least ``start_s``.
      confidence: in (0, 1], see above.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float


class WordBuilder:
    """Puts tokens together to words as they come; holds the tokens of one word only.

    Args:
      piece: text of a label, a space where a word starts.
      frame_s: seconds of an encoder frame.
    """

    def __init__(self, piece: Callable[[int], str], frame_s: float):
        self._piece = piece
        self._frame_s = frame_s
        self._open: list[tuple[str, int, float]] = []  # text, frame, log-probability

    def add(self, tokens: Iterable[tuple[int, int, float]]) -> list[Word]:
        """Words that these tokens complete: a word is whole when the next one starts.

        Args:
          tokens: label, emission frame and log-probability of each.
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
        """The word that is open, if there is one."""
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
        """All words if these tokens came next and were the last; nothing is kept of them."""
        rest = WordBuilder(self._piece, self._frame_s)
        rest._open = list(self._open)
        return [*rest.add(tokens), *rest.end()]
