"""Reader of transcript files; a byte order mark or an option gives the encoding."""

import codecs
from pathlib import Path

from data.skips import Cause, SkipError

UTF_8 = "utf-8"

_MARKS = (  # UTF-32 first: its mark starts with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_lines(path: Path, encoding: str = UTF_8) -> list[tuple[str, SkipError | None]]:
    """Reads the lines of a text file; lines that cannot be decoded are returned with an error.

    A byte order mark overrides ``encoding``. The encoding is never guessed: decoding Latin-1 as
    UTF-8 fails, but decoding another 8-bit encoding as Latin-1 gives wrong text without an error.

    Args:
      path: the file.
      encoding: encoding of files without a byte order mark.

    Returns:
      Each line without its terminator, and None or the error; undecodable bytes become U+FFFD. Only
      LF and CR LF terminate lines, as other Unicode separators may occur inside transcripts.

    Raises:
      SkipError: the file cannot be read, or has another encoding as a whole.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SkipError(Cause.UNREADABLE_TEXT, error.strerror or str(error)) from error
    for mark, name in _MARKS:
        if content.startswith(mark):
            content, encoding = content[len(mark) :], name
            break
    if "16" in encoding or "32" in encoding:  # line ends have several bytes: decode as a whole
        try:
            return [(line, None) for line in _split(content.decode(encoding))]
        except UnicodeDecodeError as error:
            raise SkipError(Cause.UNREADABLE_TEXT, f"not {encoding}: {error.reason}") from error
    if b"\0" in content:
        detail = "zero bytes: UTF-16 without a byte order mark, or no text; name its encoding"
        raise SkipError(Cause.UNREADABLE_TEXT, detail)
    return [_decode_line(line, encoding) for line in content.split(b"\n")]


def _split(text: str) -> list[str]:
    return [line.removesuffix("\r") for line in text.split("\n")]


def _decode_line(line: bytes, encoding: str) -> tuple[str, SkipError | None]:
    line = line.removesuffix(b"\r")
    try:
        return line.decode(encoding), None
    except UnicodeDecodeError as error:
        byte = line[error.start]
        detail = f"byte 0x{byte:02x} is not {encoding}; name the encoding of the transcripts"
        return line.decode(encoding, "replace"), SkipError(Cause.UNREADABLE_TEXT, detail)
