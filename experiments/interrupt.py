"""Ctrl-C as the end of the audio: what was heard is finished and told."""

import signal
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

Piece = TypeVar("Piece")


class Interrupt:
    """Turns the first SIGINT into the end of a stream; a second one is a KeyboardInterrupt.

    A context manager. While a piece is waited for, the wait is broken off; while one is computed,
    it is finished first.

    Attributes:
      came: whether there was one.
    """

    def __init__(self) -> None:
        self.came = False
        self._waiting = False

    def __enter__(self) -> "Interrupt":
        self._former = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._former)

    def until(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces up to the interrupt."""
        iterator = iter(pieces)
        while not self.came:
            self._waiting = True
            try:
                if self.came:  # between the two lines above
                    return
                piece = next(iterator)
            except (StopIteration, KeyboardInterrupt):
                return
            finally:
                self._waiting = False
            yield piece

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        again, self.came = self.came, True
        if again or self._waiting:
            raise KeyboardInterrupt
