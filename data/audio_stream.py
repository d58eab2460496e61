"""Recordings and live audio of any sample rate as a stream of int16 blocks, in constant memory.

Files are read with libsndfile, and containers that it does not support (M4A, WebM, ...) with PyAV.
The type of a pipe is detected from its first bytes: WAV, FLAC, Ogg, MP3 with an ID3 tag, AIFF, AU
and Matroska are decoded, anything else is treated as raw samples. All paths give the same samples:
mixed to mono, resampled (`data.resampling.Resampler`) and rounded.
"""

import contextlib
import dataclasses
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile
from jaxtyping import Float32, Int16

from data.audio import to_corpus_audio
from data.containers import check_container
from data.resampling import Resampler
from data.skips import Cause, SkipError

BLOCK_SAMPLES = 1 << 14
MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"\x1aE\xdf\xa3")
"""First bytes of containers detected in a pipe. (A bare MPEG frame looks like quiet samples.)"""

_PIPE_BUFFER_BYTES = 4096  # small, so that live audio is not delayed


class Readable(Protocol):
    """A pipe: only reading is required."""

    def read(self, size: int, /) -> bytes:
        """Reads up to ``size`` bytes; returns none at the end."""


def read_file(path: Path, rate_hz: int) -> Iterator[Int16[np.ndarray, " N"]]:
    """Reads a sound file in blocks, mono at ``rate_hz``.

    Args:
      path: the file.
      rate_hz: sample rate of the blocks.

    Raises:
      SkipError: the file is missing, not readable, not audio, or holds samples that are not finite;
        after the last block, if the file does not decode to its declared end.
    """
    with contextlib.ExitStack() as stack:
        try:
            # libsndfile would treat a file named .raw as raw samples; only the content decides.
            binary = stack.enter_context(path.open("rb"))
            binary.peek(1)
        except OSError as error:
            raise SkipError(*_unopened(path, error)) from error
        cut = _cut(binary)
        try:
            file = stack.enter_context(soundfile.SoundFile(binary))
        except (soundfile.SoundFileError, TypeError):
            binary.seek(0)
            yield from _converted(_decoded(binary), rate_hz)
            return
        yield from _converted(_blocks(file), rate_hz)
        if cut is not None:
            raise cut


def read_pipe(pipe: Readable, rate_hz: int, raw_rate_hz: int) -> Iterator[Int16[np.ndarray, " N"]]:
    """Reads audio from a pipe in blocks, mono at ``rate_hz``, as soon as it arrives.

    Args:
      pipe: e.g. ``sys.stdin.buffer``.
      rate_hz: sample rate of the blocks.
      raw_rate_hz: sample rate of raw samples (mono, signed, 16 bits, little-endian), which have no
        header.

    Raises:
      SkipError: the pipe starts like a sound file but cannot be decoded.
    """
    replayed = _Replayed(pipe)
    head = replayed.peek(4)
    if not head.startswith(MAGIC):
        blocks = _pcm(replayed, _RAW, raw_rate_hz)
    elif (wav := _wav_header(replayed)) is not None:
        # FFmpeg would buffer seconds of audio before it returns the first sample.
        blocks = _pcm(replayed, *wav)
    else:
        blocks = _decoded(replayed)
    yield from _converted(blocks, rate_hz)


Blocks = Iterator[tuple[Float32[np.ndarray, "N channels"], int]]
"""Blocks of samples in [-1, 1) and their sample rate in Hz."""


def _converted(blocks: Blocks, rate_hz: int) -> Iterator[Int16[np.ndarray, " M"]]:
    resampler, source_hz = None, 0
    for block, block_hz in blocks:
        if resampler is None:
            resampler, source_hz = Resampler(block_hz, rate_hz), block_hz
        elif block_hz != source_hz:
            raise SkipError(
                Cause.UNREADABLE_AUDIO, f"the rate changes from {source_hz} to {block_hz} Hz"
            )
        yield to_corpus_audio(resampler.push(block.mean(axis=1))[:, None], rate_hz, rate_hz)
    if resampler is not None:
        yield to_corpus_audio(resampler.end()[:, None], rate_hz, rate_hz)


def _cut(file: BinaryIO) -> SkipError | None:
    """Returns the error for a file shorter than its header declares, or None; rewinds the file.

    It is raised after the last block: decoders read such a file to its end without an error.
    """
    try:
        check_container(file)
    except SkipError as error:
        if error.cause is Cause.TRUNCATED_AUDIO:
            return error
    finally:
        file.seek(0)
    return None  # the decoders report other errors: they support more containers


def _blocks(file: soundfile.SoundFile) -> Blocks:
    """Reads samples with libsndfile."""
    length = 0
    try:
        while len(block := file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)):
            length += len(block)
            yield block, file.samplerate
    except soundfile.SoundFileError as error:
        raise SkipError(Cause.UNREADABLE_AUDIO, str(error).rpartition(">: ")[2]) from error
    if length < file.frames:  # damaged MP3 and Ogg files end early without an error
        raise SkipError(Cause.UNREADABLE_AUDIO, f"{length} of {file.frames} samples decode")


def _decoded(source: "BinaryIO | _Replayed") -> Blocks:
    """Decodes the first audio stream with FFmpeg."""
    import av  # needs the extra `data`; other files are read without

    try:
        with av.open(source, mode="r", buffer_size=_PIPE_BUFFER_BYTES) as container:
            if not container.streams.audio:
                raise SkipError(Cause.UNREADABLE_AUDIO, "there is no audio in it")
            for frame in container.decode(audio=0):
                yield _samples(frame), frame.sample_rate
    except av.FFmpegError as error:
        raise SkipError(Cause.UNREADABLE_AUDIO, f"no audio: {error.strerror}") from error


def _samples(frame: Any) -> Float32[np.ndarray, "N channels"]:
    values = frame.to_ndarray()
    channels = len(frame.layout.channels)
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    return _real(values)


def _real(values: np.ndarray) -> Float32[np.ndarray, "..."]:
    """Converts samples of any dtype to [-1, 1)."""
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if np.issubdtype(values.dtype, np.integer):
        return (values / 2.0 ** (8 * values.dtype.itemsize - 1)).astype(np.float32)
    return values.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class _Pcm:
    """Layout of linear PCM samples, little-endian.

    Attributes:
      dtype: NumPy dtype; 24-bit samples are read as bytes.
      channels: number of interleaved channels.
      bits: width of a sample: 8 (unsigned), 16, 24 or 32, or that of a float.
    """

    dtype: str
    channels: int
    bits: int

    def samples(self, content: bytes) -> Float32[np.ndarray, "N channels"]:
        if self.bits == 24:
            wide = np.zeros((len(content) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
            values = wide.view("<i4")[:, 0]
        else:
            values = np.frombuffer(content, self.dtype)
        return _real(values).reshape(-1, self.channels)


_RAW = _Pcm("<i2", 1, 16)
_WAV_DTYPES = {
    (1, 8): "u1",
    (1, 16): "<i2",
    (1, 24): "u1",
    (1, 32): "<i4",
    (3, 32): "<f4",
    (3, 64): "<f8",
}
_EXTENSIBLE = 0xFFFE  # the format tag is then the first two bytes of a GUID


def _wav_header(pipe: "_Replayed") -> tuple[_Pcm, int] | None:
    """Consumes the header of a linear PCM WAV and returns its layout and sample rate.

    Returns None, without consuming anything, for other content.
    """
    position, pcm, rate_hz = 12, None, 0
    if pipe.peek(12)[:4] != b"RIFF" or pipe.peek(12)[8:12] != b"WAVE":
        return None
    while len(pipe.peek(position + 8)) >= position + 8 and position < 1 << 16:
        name, size = struct.unpack_from("<4sI", pipe.peek(position + 8), position)
        position += 8
        if name == b"data":
            if pcm is not None:
                pipe.read_exactly(position)
                return pcm, rate_hz
            return None
        if name == b"fmt ":
            fields = pipe.peek(position + size)[position:]
            if len(fields) < 16:
                return None
            tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", fields)
            if tag == _EXTENSIBLE and len(fields) >= 26:
                (tag,) = struct.unpack_from("<H", fields, 24)
            if (tag, bits) not in _WAV_DTYPES or not channels or not rate_hz:
                return None
            pcm = _Pcm(_WAV_DTYPES[tag, bits], channels, bits)
        position += size + size % 2
    return None


def _pcm(pipe: "_Replayed", pcm: _Pcm, rate_hz: int) -> Blocks:
    """Reads linear samples up to the end of the pipe; drops a partial sample at the end."""
    # The size in the header is ignored: a program that writes to a pipe does not know it yet.
    size, rest = pcm.channels * pcm.bits // 8, b""
    while more := pipe.read(BLOCK_SAMPLES * size):
        rest += more
        whole = len(rest) // size * size
        if whole:
            yield pcm.samples(rest[:whole]), rate_hz
        rest = rest[whole:]


class _Replayed:
    """A pipe whose next bytes can be inspected before they are read.

    It has no ``seek``, so that FFmpeg does not try to seek.
    """

    def __init__(self, pipe: Readable):
        # read1 returns the available bytes without waiting for a full buffer.
        self._read = getattr(pipe, "read1", pipe.read)
        self._held = b""

    def peek(self, size: int) -> bytes:
        """Returns the next ``size`` bytes, fewer at the end, without consuming them."""
        while len(self._held) < size and (more := self._read(size - len(self._held))):
            self._held += more
        return self._held[:size]

    def read_exactly(self, size: int) -> bytes:
        """Reads the next ``size`` bytes, fewer at the end."""
        taken = self.peek(size)
        self._held = self._held[size:]
        return taken

    def read(self, size: int) -> bytes:
        """Reads up to ``size`` bytes; returns none at the end."""
        return self.read_exactly(min(size, len(self._held))) if self._held else self._read(size)


def _unopened(path: Path, error: OSError) -> tuple[Cause, str]:
    """Converts the error of opening a file to a cause and its details."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Cause.MISSING_AUDIO, "there is no such file"
    if error.errno in (errno.EACCES, errno.EPERM):
        return Cause.UNREADABLE_AUDIO, "no permission to read it"
    if os.path.isdir(path):
        return Cause.UNREADABLE_AUDIO, "it is a folder"
    return Cause.UNREADABLE_AUDIO, error.strerror or str(error)
