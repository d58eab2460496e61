"""espeak-ng: a formant synthesizer at 22.05 kHz with many accents; a package of Debian."""

import re

import numpy as np
from jaxtyping import Float32

from data.synthetic_speech.voices.command import require_command, run_to_wav

_WORDS_PER_MINUTE = 165
_PITCH, _STEPS_PER_OCTAVE = 50, 78  # range 0 to 99; the slope is measured


class EspeakVoice:
    """One of espeak-ng's accents, as listed by ``espeak-ng --voices=en``."""

    sample_rate_hz = 22_050

    def __init__(self, accent: str):
        require_command("espeak-ng", "espeak-ng")
        self._accent = accent

    def synthesize(
        self, spoken: str, *, speed: float, pitch: float, seed: int
    ) -> Float32[np.ndarray, "N"]:
        """See `Voice`; espeak-ng has no noise, so `seed` has no effect."""
        del seed
        spoken = re.sub(r"\bZ\b", "zee", spoken)  # British accents read it as "zed"
        arguments = ["espeak-ng", "-v", self._accent, "--stdin", "-w", "{wav}"]
        arguments += ["-s", str(round(_WORDS_PER_MINUTE * speed))]
        arguments += ["-p", str(int(np.clip(_PITCH + _STEPS_PER_OCTAVE * np.log2(pitch), 0, 99)))]
        audio, rate_hz = run_to_wav(arguments, spoken)
        if rate_hz != self.sample_rate_hz:
            raise ValueError(f"espeak-ng wrote {rate_hz} Hz, not {self.sample_rate_hz} Hz")
        return audio
