"""py-nanotts: SVOX Pico, 16 kHz, an American and a British voice."""

import contextlib
import ctypes
import html
from collections.abc import Iterator

import numpy as np
import py_nanotts
from jaxtyping import Float32

_M_PERTURB = -6  # glibc's <malloc.h>
_ZERO_ON_ALLOCATION = 0xFF  # allocated bytes become its complement

_VOLUME = 0.5
"""At its own volume Pico clips."""


class PicoVoice:
    """One of Pico's voices; pitch and speed are its own markup."""

    sample_rate_hz = 16_000

    def __init__(self, locale: str):
        self._locale = locale
        self._engine = py_nanotts.NanoTTS()

    def synthesize(
        self, spoken: str, *, speed: float, pitch: float, seed: int
    ) -> Float32[np.ndarray, "N"]:
        """See `Voice`; Pico has no noise that `seed` would change."""
        del seed
        with _zeroed_allocations():
            pcm = self._engine.speak(
                html.escape(spoken, quote=False),
                voice=self._locale,
                speed=speed,
                pitch=pitch,
                volume=_VOLUME,
            )
        return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0


@contextlib.contextmanager
def _zeroed_allocations() -> Iterator[None]:
    """Has malloc return zeros: Pico reads memory that it never wrote.

    Without it the same sentence differs by some LSB from call to call. Only glibc offers it;
    elsewhere the samples vary by that much, and nothing else does.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(_M_PERTURB, _ZERO_ON_ALLOCATION)
    try:
        yield
    finally:
        mallopt(_M_PERTURB, 0)
