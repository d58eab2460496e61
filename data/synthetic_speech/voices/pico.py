"""py-nanotts: SVOX Pico at 16 kHz, an American and a British voice."""

import contextlib
import ctypes
import html
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import py_nanotts
from jaxtyping import Float32

from data.synthetic_speech.voices.base import check_model

MODEL_SHA256 = {
    "en-US": {
        "en-US_ta.bin": "3a2a4d23de2a44dbbff50f69dcb9486be53b6d0a871d77cdc35f45c3e25e82aa",
        "en-US_lh0_sg.bin": "d6946526696d9eb085f7b23b1fbdf7a9986caca658b645e9eb73c6514fd4789d",
    },
    "en-GB": {
        "en-GB_ta.bin": "57998f6423236dea25cd572a73b13f371e64155840e31b571eba7fca0b521b7e",
        "en-GB_kh0_sg.bin": "8f9f5d13a920a9f3371517178d42ce89b835f1e587760c2db280beb593c388fa",
    },
}
"""Checksums of the package's lingware by locale, version 0.1.1."""

_RESPELLED = {"A": "eh", "Z": "zee"}
"""Letters that Pico reads differently: "A" as the article, and "Z" as "zed" in en-GB."""

_M_PERTURB = -6  # glibc's <malloc.h>
_ZERO_ON_ALLOCATION = 0xFF  # allocated bytes become its complement

_VOLUME = 0.5
"""Pico clips at its default volume."""


class PicoVoice:
    """One of Pico's voices; pitch and speed are set by its own markup."""

    sample_rate_hz = 16_000

    def __init__(self, locale: str):
        for name, sha256 in MODEL_SHA256[locale].items():
            check_model(Path(py_nanotts.__file__).parent / "lang" / name, sha256)
        self._locale = locale
        self._engine = py_nanotts.NanoTTS()

    def synthesize(
        self, spoken: str, *, speed: float, pitch: float, seed: int
    ) -> Float32[np.ndarray, "N"]:
        """See `Voice`; Pico has no noise, so `seed` has no effect."""
        del seed
        spoken = re.sub(r"\b[AZ]\b", lambda letter: _RESPELLED[letter[0]], spoken)
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
    """Makes malloc return zeros, because Pico reads memory that it has not written.

    Otherwise the samples of a sentence differ by some LSB between calls. Only glibc supports this;
    on other systems the samples keep varying by that much.
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
