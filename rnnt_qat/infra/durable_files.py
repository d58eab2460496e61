"""Files and folders that are there whole or not at all, and checksums that tell when they changed.

A process may be killed, and a disk may fill up, at any instruction: what is written under its final
name is complete.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping


def write_text(path: pathlib.Path, text: str) -> None:
    """Replaces a file in one step; until then the former one stays as it was."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new folder to fill, which takes the place of ``path`` when the context ends well.

    Its name begins with a dot until then (``is_partial``). Readers of a former folder at ``path``
    never see files of both; what it held besides is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, former = (path.with_name(f".{path.name}.{what}") for what in ("partial", "former"))
    for leftover in (partial, former):
        shutil.rmtree(leftover, ignore_errors=True)  # of a process that was killed
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
    """Whether a path below ``root`` lies in a folder that was never finished."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def checksum(path: pathlib.Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: pathlib.Path, leave_out: Iterable[str] = ()) -> dict[str, str]:
    """Checksums of all files below a folder, by path relative to it.

    Args:
      folder: searched recursively.
      leave_out: names of files, wherever they lie, that are not counted.
    """
    names = set(leave_out)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in names)
    return {p.relative_to(folder).as_posix(): checksum(p) for p in files}


def changed_files(folder: pathlib.Path, expected: Mapping[str, str]) -> list[str]:
    """Names of the files that are missing or no longer what their checksums say."""
    return [
        name
        for name, digest in expected.items()
        if not (folder / name).is_file() or checksum(folder / name) != digest
    ]
