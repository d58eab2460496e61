"""Interface of the voices of synthesizers."""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float32


class VoiceError(Exception):
    """A voice is not available; the message says how to install it."""


class Voice(Protocol):
    """One voice of one synthesizer; equal requests give equal samples.

    Attributes:
      sample_rate_hz: sample rate of the result of `synthesize`.
    """

    sample_rate_hz: int

    def synthesize(
        self, spoken: str, *, speed: float, pitch: float, seed: int
    ) -> Float32[np.ndarray, "N"]:
        """Reads a sentence.

        Args:
          spoken: words and punctuation; a single capital letter is the name of the letter.
          speed: speaking rate relative to the voice, about 0.6 to 1.7.
          pitch: fundamental frequency relative to the voice, about 0.6 to 1.6.
          seed: seed of the synthesizer's noise, if it has any.

        Returns:
          Samples approximately in [-1, 1]; empty if the synthesizer returned nothing.
        """


def check_model(path: Path, sha256: str) -> None:
    """Checks that a model file is the one with which the corpus is defined.

    Args:
      path: the model file.
      sha256: expected SHA-256, hexadecimal.

    Raises:
      VoiceError: the file is missing or different.
    """
    if not path.exists():
        raise VoiceError(f"{path} is missing; install the version that requirements.txt names")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise VoiceError(
            f"{path} has SHA-256 {found}, expected {sha256}; install the version that "
            "requirements.txt names"
        )
