"""Decoded audio in memory, up to a limit."""

import threading

import numpy as np

from rnnt_qat.input_pipeline.mixture import SpeechSource
from rnnt_qat.typing import Int


class AudioCache:
    """Reads audio through a cache that many threads may use.

    What has come in stays: every epoch visits every utterance once, in an order of its own, so
    throwing out the oldest would keep nothing that is asked for next.
    """

    def __init__(self, source: SpeechSource, max_bytes: int):
        """Keeps at most ``max_bytes`` of samples of ``source``."""
        self._source = source
        self._free = max_bytes
        self._audio: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> Int[np.ndarray, "N"]:
        """Int16 samples of utterance ``index``."""
        cached = self._audio.get(index)
        if cached is not None:
            return cached
        audio = self._source[index].audio
        with self._lock:
            if index not in self._audio and audio.nbytes <= self._free:
                self._audio[index] = audio
                self._free -= audio.nbytes
        return audio
