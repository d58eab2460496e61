"""Handling of Ctrl-C as the end of the audio: received audio is still transcribed."""

import signal
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

Piece = TypeVar("Piece")


class Interrupt:
    """A context in which the first SIGINT ends a stream and a second one raises KeyboardInterrupt.

    The signal interrupts waiting for a piece of audio, but not the processing of one.

    Attributes:
      came: whether a SIGINT was received.
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
        """Yields the pieces up to the interrupt."""
        iterator = iter(pieces)
        while not self.came:
            self._waiting = True
            try:
                if self.came:  # the signal may arrive between the loop condition and the line above
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
