"""What a synthesizer's voice offers."""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float32


class VoiceError(Exception):
    """A voice that is asked for cannot be had; the message says how to get it."""


class Voice(Protocol):
    """One voice of one synthesizer; the same request gives the same samples.

    Attributes:
      sample_rate_hz: of what `synthesize` returns.
    """

    sample_rate_hz: int

    def synthesize(
        self, spoken: str, *, speed: float, pitch: float, seed: int
    ) -> Float32[np.ndarray, "N"]:
        """Reads a sentence.

        Args:
          spoken: words and punctuation; a lone capital letter is the letter's name.
          speed: speaking rate relative to the voice's own, about 0.6 to 1.7.
          pitch: fundamental frequency relative to the voice's own, about 0.6 to 1.6.
          seed: of the synthesizer's noise, where it has any.

        Returns:
          Samples about in [-1, 1]; empty where the synthesizer said nothing.
        """


def check_model(path: Path, sha256: str) -> None:
    """Raises `VoiceError` unless a model file is the one that the corpus is made with."""
    if not path.exists():
        raise VoiceError(f"{path} is missing; install the version that requirements.txt names")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise VoiceError(
            f"{path} has SHA-256 {found}, expected {sha256}; install the version that "
            "requirements.txt names"
        )
