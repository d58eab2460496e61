"""Atomic writes of files and folders, and checksums to detect changes.

A process may be killed, or a disk may fill up, at any instruction; files and folders get their
final names only when they are complete.
"""

import contextlib
import errno
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file atomically; a failed write keeps the previous file."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Writes a file atomically; a failed write keeps the previous file."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary folder that replaces ``path`` if the context exits without an error.

    Its name begins with a dot until then (``is_partial``). Readers of an existing folder at
    ``path`` never see a mixture of old and new files; its other files are kept.

    Raises:
      FileExistsError: if ``path`` is a file.
    """
    if path.exists() and not path.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, former = (path.with_name(f".{path.name}.{what}") for what in ("partial", "former"))
    for leftover in (partial, former):
        shutil.rmtree(leftover, ignore_errors=True)  # left behind by a killed process
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            os.rename(path, former)
        os.rename(partial, path)
        for other in former.iterdir() if former.exists() else ():
            if not (path / other.name).exists():
                os.rename(other, path / other.name)
    finally:
        for rest in (partial, former):
            shutil.rmtree(rest, ignore_errors=True)


def is_partial(path: pathlib.Path, root: pathlib.Path) -> bool:
    """Returns whether a path below ``root`` lies in an incomplete folder."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def checksum(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: pathlib.Path, leave_out: Iterable[str] = ()) -> dict[str, str]:
    """Returns the checksums of all files below a folder, by path relative to it.

    Args:
      folder: folder to search recursively.
      leave_out: names of files to exclude, in any subfolder.
    """
    names = set(leave_out)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in names)
    return {p.relative_to(folder).as_posix(): checksum(p) for p in files}


def changed_files(folder: pathlib.Path, expected: Mapping[str, str]) -> list[str]:
    """Returns the files that are missing or whose checksum differs.

    Args:
      folder: folder of the files.
      expected: checksums by path relative to the folder.
    """
    return [
        name
        for name, digest in expected.items()
        if not (folder / name).is_file() or checksum(folder / name) != digest
    ]
