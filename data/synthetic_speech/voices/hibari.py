"""hibari-tts: a small neural synthesizer at 24 kHz; its only bundled voice with two accents."""

import functools
import re
from pathlib import Path

import hibari
import numpy as np
from hibari import dsp
from hibari.g2p import G2P
from jaxtyping import Float32

from data.synthetic_speech.voices.base import check_model

MODEL_SHA256 = {
    "hibari.onnx": "5f70741d4e900f4e85d0037498736cc1b3e1b9a63a13546a5da1e63abf4fccd8",
    "oov.onnx": "d3cfd8122c5f172a98c8de38268bf1213ee09f2c2ae4df6e055fc6532590fe76",
    "oov_gb.onnx": "0997e3219543247de5646078d770f8ca77011d8fd0abb29fe48d12c60f53e9e1",
}
"""Checksums of the package's networks, version 0.2.1."""

BUNDLED_VOICE = "heart"
"""The only voice in the package; the others would have to be downloaded."""

_LETTER_A = re.compile(r"\bA\b")


@functools.cache
def _synthesizer() -> hibari.Hibari:
    for name, sha256 in MODEL_SHA256.items():
        check_model(Path(hibari.__file__).parent / "assets" / name, sha256)
    return hibari.Hibari(voice=BUNDLED_VOICE, threads=1)


class HibariVoice:
    """hibari's voice, with the American or the British lexicon.

    The network outputs a fundamental frequency and a spectral envelope per frame, so the pitch is
    changed exactly, without an effect on formants or durations.
    """

    sample_rate_hz = hibari.SAMPLE_RATE

    def __init__(self, british: bool):
        self._synthesizer = _synthesizer()
        self._g2p = G2P(british=british)

    def synthesize(
        self, spoken: str, *, speed: float, pitch: float, seed: int
    ) -> Float32[np.ndarray, "N"]:
        """See `Voice`."""
        # The lexicon treats "A" before other words as the article.
        phonemes = self._g2p(_LETTER_A.sub("[A](/ˈA/)", spoken))
        ids = self._synthesizer.ids(phonemes)
        if len(ids) < 3:  # nothing between the two pads
            return np.zeros(0, np.float32)
        outputs = self._synthesizer.sess.run(
            None,
            {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)},
        )
        *spectra, frequency_hz = (output[0] for output in outputs)
        return dsp.synth(*spectra, frequency_hz * np.float32(pitch), np.random.default_rng(seed))
