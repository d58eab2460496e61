"""Decoding of recordings to 16 kHz mono int16, and the checks of their quality."""

import contextlib
import dataclasses
import io
import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from jaxtyping import Float32, Int16

from data.containers import check_container
from data.skips import Cause, SkipError
from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ

FULL_SCALE = 32768.0

MAX_PEAK = 8.0
"""Largest peak, relative to full scale, that is clipped; a larger one indicates another scale."""

MAX_SECONDS = 3600.0
"""Maximum duration of a recording that is decoded in memory, in seconds."""

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 384_000
"""Supported sample rates; others indicate a damaged header."""

_BLOCK = 1 << 16
_UNKNOWN_FRAMES = 1 << 62  # libsndfile reports a larger number for a stream of unknown length


@dataclasses.dataclass(frozen=True)
class Limits:
    """Quality limits of recordings.

    Attributes:
      max_duration_s: maximum duration in seconds.
      max_chars_per_s: maximum rate in characters of the normalised transcript per second; a higher
        rate indicates a truncated recording. (Fast reading is about 20.)
      min_peak: minimum peak relative to full scale; 0.001 is -60 dB.
      max_clipped_fraction: maximum fraction of samples at full scale.
    """

    max_duration_s: float = 30.0
    max_chars_per_s: float = 35.0
    min_peak: float = 0.001
    max_clipped_fraction: float = 0.01

    def check(self, audio: Int16[np.ndarray, " N"], text: str) -> None:
        """Checks a recording.

        Args:
          audio: samples at `SAMPLE_RATE_HZ`.
          text: normalised transcript.

        Raises:
          SkipError: the recording violates a limit; it has the first cause found.
        """
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
    audio: Float32[np.ndarray, "N channels"], rate_hz: int, target_hz: int = SAMPLE_RATE_HZ
) -> Int16[np.ndarray, " M"]:
    """Mixes to mono, resamples (polyphase) and rounds to int16.

    16-bit mono at the target rate is returned unchanged to the bit. Samples beyond full scale are
    clipped.

    Args:
      audio: samples in [-1, 1).
      rate_hz: sample rate of ``audio``.
      target_hz: sample rate of the result.

    Raises:
      SkipError: a sample is not finite, or exceeds full scale so far that the recording must have
        another scale (such as 16-bit integers stored as floats).
    """
    mono = audio.mean(axis=1)
    if not np.isfinite(mono).all():
        bad = ~np.isfinite(mono)
        raise SkipError(Cause.NON_FINITE, f"{bad.sum()} samples, the first is {np.argmax(bad)}")
    peak = np.abs(mono).max(initial=0.0)
    if peak > MAX_PEAK:
        raise SkipError(Cause.CLIPPED, f"peak {peak:g} times full scale: floats lie in [-1, 1]")
    if rate_hz != target_hz and len(mono):
        from scipy.signal import resample_poly  # slow import, rarely needed

        divisor = math.gcd(rate_hz, target_hz)
        mono = resample_poly(mono, target_hz // divisor, rate_hz // divisor)
    return np.clip(np.rint(mono * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def decode_audio(
    source: Path | bytes, rate_hz: int = SAMPLE_RATE_HZ, max_seconds: float = MAX_SECONDS
) -> Int16[np.ndarray, " N"]:
    """Decodes a sound file of a container that `data.containers` supports, whatever its name.

    Args:
      source: a file, or its bytes.
      rate_hz: sample rate of the result.
      max_seconds: maximum duration; a small file may decode to days of silence.

    Raises:
      SkipError: the file is missing, is not a sound file, does not decode to its declared end, is
        too long, or holds samples that are not finite.
    """
    try:
        with contextlib.ExitStack() as stack:
            if isinstance(source, bytes):
                binary: BinaryIO = io.BytesIO(source)
            else:
                named = stack.enter_context(source.open("rb"))
                # soundfile would treat a file named .raw as raw samples; only the content decides
                binary = stack.enter_context(open(named.fileno(), "rb", closefd=False))
            at_least = check_container(binary)
            file = stack.enter_context(soundfile.SoundFile(binary))
            return to_corpus_audio(_read(file, max_seconds, at_least), file.samplerate, rate_hz)
    except FileNotFoundError as error:
        raise SkipError(Cause.MISSING_AUDIO, str(source)) from error
    except OSError as error:
        raise SkipError(Cause.UNREADABLE_AUDIO, error.strerror or str(error)) from error
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        # remove the repr of the file object, which libsndfile puts into its messages
        reason = str(error).rpartition(">: ")[2]
        raise SkipError(Cause.UNREADABLE_AUDIO, reason) from error


def _read(
    file: soundfile.SoundFile, max_seconds: float, at_least: int
) -> Float32[np.ndarray, "N channels"]:
    """Reads all samples in blocks, since headers may be wrong and some codecs cannot seek."""
    rate_hz = file.samplerate
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise SkipError(
            Cause.UNREADABLE_AUDIO, f"{rate_hz} Hz is not in [{MIN_RATE_HZ}, {MAX_RATE_HZ}]"
        )
    if file.frames > _UNKNOWN_FRAMES:
        raise SkipError(
            Cause.UNREADABLE_AUDIO,
            "its header has no number of samples (FLAC written to a pipe); encode it again",
        )
    blocks, length = [], 0
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        blocks.append(block)
        length += len(block)
        if length > max_seconds * rate_hz:
            raise SkipError(Cause.TOO_LONG, f"more than {max_seconds:g} s")
    expected = max(file.frames, at_least)
    if length < expected:  # a damaged MP3 or Ogg file ends early without an error
        raise SkipError(Cause.TRUNCATED_AUDIO, f"{length} of {expected} samples decode")
    return np.concatenate(blocks) if blocks else np.zeros((0, file.channels), np.float32)


def decode_g722(content: bytes) -> Int16[np.ndarray, " N"]:
    """Decodes headerless G.722 at 64 kbit/s, which is 16 kHz mono: two samples per byte.

    Raises:
      SkipError: the content cannot be decoded.
    """
    import av  # needs the extra `data`

    try:
        with av.open(io.BytesIO(content), mode="r", format="g722") as container:
            frames = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    except av.FFmpegError as error:
        raise SkipError(Cause.UNREADABLE_AUDIO, str(error)) from error
    return np.concatenate(frames or [np.zeros(0, np.int16)])


def encode_flac(audio: Int16[np.ndarray, " N"]) -> bytes:
    """Encodes samples as FLAC, which is lossless."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
