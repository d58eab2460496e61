"""Any recording to 16 kHz mono int16, and what makes one unusable."""

import dataclasses
import io
import math
from pathlib import Path

import av
import numpy as np
import soundfile
from jaxtyping import Float32, Int16

from data.skips import Cause, SkipError
from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ

FULL_SCALE = 32768.0


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a recording must be to be kept.

    Attributes:
      max_duration_s: longest recording, in seconds.
      max_chars_per_s: fastest speech, in characters of the normalised transcript a second; faster
        means that the recording is cut off. (Fast reading is about 20.)
      min_peak: quietest recording, as its peak relative to full scale; 0.001 is -60 dB.
      max_clipped_fraction: largest part of the samples that may sit at full scale.
    """

    max_duration_s: float = 30.0
    max_chars_per_s: float = 35.0
    min_peak: float = 0.001
    max_clipped_fraction: float = 0.01

    def check(self, audio: Int16[np.ndarray, " N"], text: str) -> None:
        """Raises `SkipError` with the first cause that `audio` gives, if any."""
        seconds = len(audio) / SAMPLE_RATE_HZ
        if not len(audio):
            raise SkipError(Cause.EMPTY_AUDIO, "0 samples")
        if seconds > self.max_duration_s:
            raise SkipError(Cause.TOO_LONG, f"{seconds:.1f} s > {self.max_duration_s:g} s")
        if len(text) > seconds * self.max_chars_per_s:
            raise SkipError(Cause.TOO_SHORT_FOR_TEXT, f"{len(text)} characters in {seconds:.2f} s")
        level = np.abs(audio.astype(np.int32))
        if level.max() < self.min_peak * FULL_SCALE:
            raise SkipError(Cause.SILENT, f"peak {level.max()} of 32768")
        clipped = float(np.mean(level >= FULL_SCALE - 1))
        if clipped > self.max_clipped_fraction:
            raise SkipError(Cause.CLIPPED, f"{100 * clipped:.2f} % of the samples at full scale")


def to_corpus_audio(
    audio: Float32[np.ndarray, "N channels"], rate_hz: int
) -> Int16[np.ndarray, " M"]:
    """Mixes to mono, resamples to the corpora's rate (polyphase) and rounds to int16.

    16-bit mono at 16 kHz comes back unchanged to the bit.
    """
    mono = audio.mean(axis=1)
    if rate_hz != SAMPLE_RATE_HZ and len(mono):
        from scipy.signal import resample_poly  # a second to import, and most are at 16 kHz

        divisor = math.gcd(rate_hz, SAMPLE_RATE_HZ)
        mono = resample_poly(mono, SAMPLE_RATE_HZ // divisor, rate_hz // divisor)
    return np.clip(np.rint(mono * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def decode_audio(source: Path | bytes) -> Int16[np.ndarray, " N"]:
    """Decodes WAV, FLAC, MP3 or Ogg, from a file or from its bytes.

    Raises:
      SkipError: the file is missing or does not decode to its end.
    """
    try:
        with soundfile.SoundFile(
            io.BytesIO(source) if isinstance(source, bytes) else source
        ) as file:
            audio = file.read(dtype="float32", always_2d=True)
            frames, rate_hz = file.frames, file.samplerate
    except soundfile.SoundFileError as error:
        if isinstance(source, Path) and not source.exists():
            raise SkipError(Cause.MISSING_AUDIO, str(source)) from error
        raise SkipError(Cause.UNREADABLE_AUDIO, str(error)) from error
    if len(audio) < frames:  # damaged MP3 and Ogg end early, without an error
        raise SkipError(Cause.UNREADABLE_AUDIO, f"{len(audio)} of {frames} samples decode")
    return to_corpus_audio(audio, rate_hz)


def decode_g722(content: bytes) -> Int16[np.ndarray, " N"]:
    """Decodes headerless G.722 at 64 kbit/s, which is 16 kHz mono: two samples a byte.

    Raises:
      SkipError: there is nothing to decode.
    """
    try:
        with av.open(io.BytesIO(content), mode="r", format="g722") as container:
            frames = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    except av.FFmpegError as error:
        raise SkipError(Cause.UNREADABLE_AUDIO, str(error)) from error
    return np.concatenate(frames or [np.zeros(0, np.int16)])


def encode_flac(audio: Int16[np.ndarray, " N"]) -> bytes:
    """The samples as FLAC, lossless."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
