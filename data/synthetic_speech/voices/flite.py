"""flite: small unit-selection and statistical voices of CMU at 8 or 16 kHz; a package of Debian."""

import numpy as np
from jaxtyping import Float32

from data.synthetic_speech.voices.command import require_command, run_to_wav


class FliteVoice:
    """One of flite's voices.

    Args:
      name: name, as listed by ``flite -lv``.
      mean_pitch_hz: mean fundamental frequency of the voice.
    """

    sample_rate_hz = 16_000

    def __init__(self, name: str, mean_pitch_hz: float):
        require_command("flite", "flite")
        self._name = name
        self._mean_pitch_hz = mean_pitch_hz

    def synthesize(
        self, spoken: str, *, speed: float, pitch: float, seed: int
    ) -> Float32[np.ndarray, "N"]:
        """See `Voice`; flite has no noise, so `seed` has no effect."""
        del seed
        settings = {
            "duration_stretch": 1 / speed,
            "int_f0_target_mean": self._mean_pitch_hz * pitch,
        }
        arguments = ["flite", "-voice", self._name]
        for name, value in settings.items():
            arguments += ["--setf", f"{name}={value:.4f}"]
        audio, rate_hz = run_to_wav([*arguments, "-f", "/dev/stdin", "-o", "{wav}"], spoken)
        if rate_hz != self.sample_rate_hz:
            raise ValueError(f"flite's voice {self._name} is {rate_hz} Hz, not 16000 Hz")
        return audio
