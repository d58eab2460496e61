"""Recordings and live audio of any rate as a stream of int16 blocks, in constant memory.

Files are read with libsndfile, what it does not know (M4A, WebM, ...) with PyAV. A pipe is told by
its first bytes: WAV, FLAC, Ogg, MP3 with an ID3 tag, AIFF, AU and Matroska are decoded, anything
else is raw samples. All ways give the same samples: mixed to mono, resampled
(`data.resampling.Resampler`), rounded.
"""

import contextlib
import dataclasses
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import av
import numpy as np
import soundfile
from jaxtyping import Float32, Int16

from data.audio import to_corpus_audio
from data.containers import check_container
from data.resampling import Resampler
from data.skips import Cause, SkipError

BLOCK_SAMPLES = 1 << 14
MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"\x1aE\xdf\xa3")
"""First bytes of what a pipe is decoded as. (A bare MPEG frame begins like two quiet samples.)"""

_PIPE_BUFFER_BYTES = 4096  # small, so that live audio is not held back


class Readable(Protocol):
    """A pipe: read alone is asked of it."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""


def read_file(path: Path, rate_hz: int) -> Iterator[Int16[np.ndarray, " N"]]:
    """Blocks of a sound file, mono at ``rate_hz``.

    Raises:
      SkipError: the file is missing, may not be read, is no audio or holds samples that are not
        finite; after its last block, if it does not decode to its declared end.
    """
    with contextlib.ExitStack() as stack:
        try:
            # libsndfile would believe a name that ends in .raw; the content alone shall decide.
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
    """Blocks of what comes through a pipe, mono at ``rate_hz``, as soon as it comes.

    Args:
      pipe: e.g. ``sys.stdin.buffer``.
      rate_hz: of the blocks.
      raw_rate_hz: rate of raw samples (mono, signed, 16 bits, little-endian), which do not tell it.

    Raises:
      SkipError: it begins like a sound file and does not decode.
    """
    replayed = _Replayed(pipe)
    head = replayed.peek(4)
    if not head.startswith(MAGIC):
        blocks = _pcm(replayed, _RAW, raw_rate_hz)
    elif (wav := _wav_header(replayed)) is not None:
        # FFmpeg would wait for seconds of audio before the first sample comes out.
        blocks = _pcm(replayed, *wav)
    else:
        blocks = _decoded(replayed)
    yield from _converted(blocks, rate_hz)


Blocks = Iterator[tuple[Float32[np.ndarray, "N channels"], int]]
"""Samples in [-1, 1) with their rate in Hz."""


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
    """The fault of a file that is shorter than its header says; decoders go on to its end."""
    try:
        check_container(file)
    except SkipError as error:
        if error.cause is Cause.TRUNCATED_AUDIO:
            return error
    finally:
        file.seek(0)
    return None  # other faults are the decoders' to find: they know more containers


def _blocks(file: soundfile.SoundFile) -> Blocks:
    """A file's samples through libsndfile."""
    length = 0
    try:
        while len(block := file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)):
            length += len(block)
            yield block, file.samplerate
    except soundfile.SoundFileError as error:
        raise SkipError(Cause.UNREADABLE_AUDIO, str(error).rpartition(">: ")[2]) from error
    if length < file.frames:  # damaged MP3 and Ogg end early, without an error
        raise SkipError(Cause.UNREADABLE_AUDIO, f"{length} of {file.frames} samples decode")


def _decoded(source: "BinaryIO | _Replayed") -> Blocks:
    """The first audio stream through FFmpeg."""
    try:
        with av.open(source, mode="r", buffer_size=_PIPE_BUFFER_BYTES) as container:
            if not container.streams.audio:
                raise SkipError(Cause.UNREADABLE_AUDIO, "there is no audio in it")
            for frame in container.decode(audio=0):
                yield _samples(frame), frame.sample_rate
    except av.FFmpegError as error:
        raise SkipError(Cause.UNREADABLE_AUDIO, f"no audio: {error.strerror}") from error


def _samples(frame: av.AudioFrame) -> Float32[np.ndarray, "N channels"]:
    values = frame.to_ndarray()
    channels = len(frame.layout.channels)
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    return _real(values)


def _real(values: np.ndarray) -> Float32[np.ndarray, "..."]:
    """Samples of any type in [-1, 1)."""
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if np.issubdtype(values.dtype, np.integer):
        return (values / 2.0 ** (8 * values.dtype.itemsize - 1)).astype(np.float32)
    return values.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class _Pcm:
    """How linear samples lie in a stream, little-endian.

    Attributes:
      dtype: of NumPy; 24 bits are read as bytes.
      channels: interleaved.
      bits: 8 (unsigned), 16, 24 or 32, or those of a float.
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
_EXTENSIBLE = 0xFFFE  # the tag then is the first two bytes of a GUID


def _wav_header(pipe: "_Replayed") -> tuple[_Pcm, int] | None:
    """Format and rate of linear WAV, its header taken from the pipe; None (none taken) if not."""
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
    """Linear samples up to the end of the pipe; a part of one at the end is none."""
    # A header's size is not believed: whoever writes to a pipe does not know it beforehand.
    size, rest = pcm.channels * pcm.bits // 8, b""
    while more := pipe.read(BLOCK_SAMPLES * size):
        rest += more
        whole = len(rest) // size * size
        if whole:
            yield pcm.samples(rest[:whole]), rate_hz
        rest = rest[whole:]


class _Replayed:
    """A pipe whose first bytes can be looked at before they are read.

    It has no ``seek``, so FFmpeg does not try.
    """

    def __init__(self, pipe: Readable):
        # What is there, without waiting for a full buffer, where the pipe can tell.
        self._read = getattr(pipe, "read1", pipe.read)
        self._held = b""

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        while len(self._held) < size and (more := self._read(size - len(self._held))):
            self._held += more
        return self._held[:size]

    def read_exactly(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        taken = self.peek(size)
        self._held = self._held[size:]
        return taken

    def read(self, size: int) -> bytes:
        """Some of the next ``size`` bytes; none at the end."""
        return self.read_exactly(min(size, len(self._held))) if self._held else self._read(size)


def _unopened(path: Path, error: OSError) -> tuple[Cause, str]:
    """The cause of a file that does not open."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Cause.MISSING_AUDIO, "there is no such file"
    if error.errno in (errno.EACCES, errno.EPERM):
        return Cause.UNREADABLE_AUDIO, "no permission to read it"
    if os.path.isdir(path):
        return Cause.UNREADABLE_AUDIO, "it is a folder"
    return Cause.UNREADABLE_AUDIO, error.strerror or str(error)
