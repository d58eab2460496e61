"""Check that a sound file is complete, from the lengths that its container declares.

Decoders often do not report truncation: a truncated WAV, AIFF, AU or NIST SPHERE file decodes to
the remaining samples, an Ogg file up to the last complete page.
"""

import io
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from data.skips import Cause, SkipError

UNKNOWN_SIZE = 0xFFFFFFFF
"""Size in the header of a WAV or AU file written to a pipe: the audio extends to the end."""

_PCM, _FLOAT = 1, 3  # wFormatTag of WAV
_OGG_HEADER_SIZE = 27
_OGG_END_OF_STREAM = 4
_MP3_RATES_HZ = ((11025, 12000, 8000), (0, 0, 0), (22050, 24000, 16000), (44100, 48000, 32000))
_MP3_KBITS_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_KBITS_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def check_container(file: BinaryIO) -> int:
    """Checks the declared lengths of a sound file and rewinds it.

    Args:
      file: seekable file at its start.

    Returns:
      Minimum number of samples per channel that a decoder must return; 0 if the decoder checks the
      length itself.

    Raises:
      SkipError: ``TRUNCATED_AUDIO`` if bytes that the container declares are missing;
        ``UNREADABLE_AUDIO`` if the file is empty, its header is inconsistent, or it is not one of
        WAV (RIFF, RIFX, RF64), FLAC, Ogg, MP3, AIFF, AU and NIST SPHERE.
    """
    samples = 0
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    if not size:
        raise SkipError(Cause.UNREADABLE_AUDIO, "the file is empty")
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:] == b"WAVE":
        _check_wav(file, size, ">" if head[:4] == b"RIFX" else "<")
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        for name, start, length in _chunks(file, size, ">"):
            if name == b"SSND":
                _require(start + length, size)
    elif head[:4] == b".snd":
        start, length = struct.unpack(">4xII", file.read(12).ljust(12, b"\0"))
        _require(12, size)
        _require(start + (0 if length == UNKNOWN_SIZE else length), size)
    elif head[:8] == b"NIST_1A\n":
        _require(_nist_size(file.read(1 << 16)), size)
    elif head[:4] == b"OggS":
        _check_ogg(file, size)
    elif head[:4] == b"fLaC":
        pass  # frames have checksums and the header has their number: the decoder checks both
    elif head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0"):
        samples = _check_mp3(file, size)
    else:
        raise SkipError(
            Cause.UNREADABLE_AUDIO,
            f"begins with {head[:4]!r}: not WAV, FLAC, Ogg, MP3, AIFF, AU or NIST SPHERE",
        )
    file.seek(0)
    return samples


def _require(declared: int, size: int) -> None:
    if declared > size:
        raise SkipError(Cause.TRUNCATED_AUDIO, f"{size} of {declared} bytes are there")


def _chunks(file: BinaryIO, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, start and declared length of each chunk of an IFF file."""
    position = 12
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        yield name, position + 8, length
        position += 8 + length + length % 2  # chunks start at even offsets


def _check_wav(file: BinaryIO, size: int, order: str) -> None:
    large = None  # RF64 stores the size of the audio, which may exceed 32 bits, in a separate chunk
    for name, start, length in _chunks(file, size, order):
        file.seek(start)
        if name == b"ds64" and length >= 16:
            large = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
        elif name == b"fmt " and length >= 16:
            fields = struct.unpack(f"{order}HHIIHH", file.read(16).ljust(16, b"\0"))
            tag, channels, rate_hz, bytes_per_s, block, bits = fields
            if tag in (_PCM, _FLOAT) and (
                bytes_per_s != rate_hz * block or block != channels * -(-bits // 8)
            ):
                raise SkipError(
                    Cause.UNREADABLE_AUDIO,
                    f"the header contradicts itself: {rate_hz} Hz, {channels} channels of {bits} "
                    f"bits, but {block} bytes a frame and {bytes_per_s} a second",
                )
        elif name == b"data":
            if length != UNKNOWN_SIZE:
                _require(start + length, size)
            elif large is not None:
                _require(start + large, size)
            return
    raise SkipError(Cause.TRUNCATED_AUDIO, "the file ends before its audio")


def _nist_size(head: bytes) -> int:
    """Computes the size of a NIST SPHERE file from its header lines "name -type value"."""
    lines = [line.split(maxsplit=2) for line in head.decode("latin-1").splitlines()]
    fields = {line[0]: line[2] for line in lines if len(line) == 3}
    try:
        header_size = int(lines[1][0])
        names = ("sample_count", "sample_n_bytes", "channel_count")
        count, width, channels = (int(fields.get(name, "1")) for name in names)
    except (ValueError, IndexError) as error:
        raise SkipError(Cause.UNREADABLE_AUDIO, f"no NIST SPHERE header: {error}") from error
    return header_size + count * width * channels


def _check_ogg(file: BinaryIO, size: int) -> None:
    """Checks that the pages (RFC 3533, section 6) are consecutive and the last one is marked."""
    expected: dict[int, int] = {}  # next page of each logical stream
    ended: set[int] = set()
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(_OGG_HEADER_SIZE)
        if len(header) < _OGG_HEADER_SIZE:
            raise SkipError(Cause.TRUNCATED_AUDIO, f"cut in the page at byte {position}")
        if header[:4] != b"OggS":
            raise SkipError(Cause.UNREADABLE_AUDIO, f"no page begins at byte {position}")
        stream, page = struct.unpack("<II", header[14:22])
        if page != expected.get(stream, page):
            raise SkipError(Cause.TRUNCATED_AUDIO, f"page {expected[stream]} is missing")
        expected[stream] = page + 1
        if header[5] & _OGG_END_OF_STREAM:
            ended.add(stream)
        segments = file.read(header[26])
        position += _OGG_HEADER_SIZE + header[26] + sum(segments)
        _require(position, size)
    if ended != expected.keys():
        raise SkipError(Cause.TRUNCATED_AUDIO, "its last page is missing")


def _check_mp3(file: BinaryIO, size: int) -> int:
    """Checks that all frames are complete and that only tags precede and follow them.

    Without a Xing header, truncation between two frames cannot be detected.

    Returns:
      Samples of the frames, minus the delay and padding of an encoder. libsndfile decodes fewer
      samples of a file with variable bit rate and no Xing header, because it assumes the bit rate
      of the first frame.
    """
    content = io.BytesIO(file.read())
    head = content.read(10)
    position = 0
    if head[:3] == b"ID3":  # the size of the tag is stored as four times seven bits
        position = 10 + sum((b & 0x7F) << 7 * i for i, b in enumerate(reversed(head[6:10])))
        _require(position, size)
    frames = samples = 0
    data = content.getbuffer()
    while position + 4 <= size:
        header = bytes(data[position : position + 4])
        length = _mp3_frame_size(header)
        if not length:
            break
        position += length
        _require(position, size)
        frames += 1
        samples += 1152 if header[1] >> 3 & 3 == 3 else 576
    rest = bytes(data[position : position + 8])
    if not frames:
        raise SkipError(Cause.UNREADABLE_AUDIO, f"no MPEG frame begins at byte {position}")
    if rest.strip(b"\0") and not rest.startswith((b"TAG", b"APETAGEX", b"LYRICS", b"ID3")):
        raise SkipError(Cause.UNREADABLE_AUDIO, f"no MPEG frame begins at byte {position}")
    return samples - 4 * samples // frames


def _mp3_frame_size(header: bytes) -> int:
    """Computes the size of a layer III frame (ISO 11172-3, 2.4.2.3); 0 for an invalid header."""
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if header[0] != 0xFF or header[1] < 0xE0 or version == 1 or layer != 1:
        return 0
    if bitrate in (0, 15) or rate == 3:
        return 0
    kbits = (_MP3_KBITS_V1 if version == 3 else _MP3_KBITS_V2)[bitrate]
    samples_over_8 = 144 if version == 3 else 72
    return samples_over_8 * kbits * 1000 // _MP3_RATES_HZ[version][rate] + (header[2] >> 1 & 1)
