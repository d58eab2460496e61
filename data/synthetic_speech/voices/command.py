"""Synthesizers that are commands and write WAV files."""

import io
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from data.synthetic_speech.voices.base import VoiceError


def require_command(command: str, package: str) -> None:
    """Checks that a command is installed.

    Args:
      command: name of the command.
      package: its Debian package, for the error message.

    Raises:
      VoiceError: the command is not installed.
    """
    if shutil.which(command) is None:
        raise VoiceError(
            f"the command {command!r} is not installed; install it "
            f"(Debian: apt install {package}) or leave its voices out"
        )


def run_to_wav(arguments: Sequence[str], text: str) -> tuple[Float32[np.ndarray, "N"], int]:
    """Runs a command that reads `text` from stdin and writes a WAV to the path ``{wav}``.

    Args:
      arguments: the command and its arguments.
      text: the text.

    Returns:
      The samples and their rate in Hz.

    Raises:
      VoiceError: the command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        filled = [argument.replace("{wav}", str(wav)) for argument in arguments]
        done = subprocess.run(filled, input=text.encode(), capture_output=True, check=False)
        if done.returncode or not wav.exists():
            raise VoiceError(f"{' '.join(filled)} failed: {done.stderr.decode()[-300:]}")
        audio, rate_hz = soundfile.read(io.BytesIO(wav.read_bytes()), dtype="float32")
    return audio, rate_hz
