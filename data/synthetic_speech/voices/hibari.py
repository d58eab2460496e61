"""hibari-tts: a small neural synthesizer, 24 kHz; its one bundled voice with two accents."""

import functools
import re

import hibari
import numpy as np
from hibari import dsp
from hibari.g2p import G2P
from jaxtyping import Float32

BUNDLED_VOICE = "heart"
"""The only voice that lies in the package; the others would be downloaded, which is not done here."""

_LETTER_A = re.compile(r"\bA\b(?!\.?[A-Z])")


@functools.cache
def _synthesizer() -> hibari.Hibari:
    return hibari.Hibari(voice=BUNDLED_VOICE, threads=1)


class HibariVoice:
    """hibari's voice, with the American or the British lexicon.

    The network gives a fundamental frequency and a spectral envelope a frame, so pitch is changed
    exactly, without touching formants or durations.
    """

    sample_rate_hz = hibari.SAMPLE_RATE

    def __init__(self, british: bool):
        self._g2p = G2P(british=british)

    def synthesize(
        self, spoken: str, *, speed: float, pitch: float, seed: int
    ) -> Float32[np.ndarray, "N"]:
        """See `Voice`."""
        synthesizer = _synthesizer()
        # Before other words the lexicon takes "A" for the article.
        phonemes = self._g2p(_LETTER_A.sub("[A](/ˈA/)", spoken))
        ids = synthesizer.ids(phonemes)
        if len(ids) < 3:  # nothing between the two pads
            return np.zeros(0, np.float32)
        outputs = synthesizer.sess.run(
            None,
            {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)},
        )
        *spectra, frequency_hz = (output[0] for output in outputs)
        return dsp.synth(*spectra, frequency_hz * np.float32(pitch), np.random.default_rng(seed))
