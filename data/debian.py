"""Debian packages as plain files: downloaded by apt without root, read without dpkg."""

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rnnt_qat.input_pipeline.corpus import CorpusError

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_SIZE = 60


def apt_download(package: str, folder: Path) -> Path:
    """Downloads the ``.deb`` of a package with apt, without root.

    If the package lists of the system are missing or outdated, new lists are downloaded into
    `folder`; those of the system are not changed.

    Args:
      package: name, or ``name=version``.
      folder: destination of the ``.deb``.

    Returns:
      Path of the ``.deb``.

    Raises:
      CorpusError: apt is not installed or cannot download the package; the message includes that
        of apt.
    """
    if shutil.which("apt-get") is None:
        raise CorpusError(
            f"no apt-get on this machine: fetch {package} from Debian's package site by other "
            "means and name its folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    private = folder / "apt"
    options = [f"-oDir::State::Lists={private / 'lists'}", f"-oDir::Cache={private / 'cache'}"]
    attempts: list[list[list[str]]] = [
        [["apt-get", "download", package]],
        [["apt-get", *options, "update"], ["apt-get", *options, "download", package]],
    ]
    for commands in attempts:
        if len(commands) > 1:
            print(f"apt does not know {package}; fetching package lists into {private}")
            for sub in ("lists/partial", "cache/archives/partial"):
                (private / sub).mkdir(parents=True, exist_ok=True)
        for command in commands:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        debs = sorted(folder.glob(f"{package.split('=')[0]}_*.deb"))
        if done.returncode == 0 and debs:
            return debs[-1]
    raise CorpusError(
        f"apt-get cannot download {package}: {done.stderr.strip()}\n"
        "check /etc/apt/sources.list*, or name a folder that holds the .deb"
    )


def find_deb(package: str, folder: Path) -> Path:
    """Returns the path of the only ``.deb`` of `package` in `folder`.

    Raises:
      CorpusError: there is none, or more than one.
    """
    debs = sorted(folder.glob(f"{package}_*.deb"))
    if len(debs) != 1:
        found = ", ".join(deb.name for deb in debs) or "none"
        raise CorpusError(f"{folder} must hold exactly one {package}_*.deb; found: {found}")
    return debs[0]


def check_sha256(path: Path, expected: str) -> None:
    """Raises `CorpusError` unless the file's SHA-256 is `expected` (hexadecimal)."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise CorpusError(
            f"{path} has SHA-256 {found}, expected {expected}: it is another version or damaged; "
            "delete it and prepare again"
        )


def read_deb(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Reads files of a ``.deb``, an ``ar`` archive of tars (deb(5)), without unpacking to disk.

    Args:
      path: the ``.deb``.
      wanted: predicate on paths without the leading "./", such as "usr/share/...".

    Yields:
      (path inside the package, content), in the order of the package.

    Raises:
      CorpusError: the file is not a ``.deb``, or Python does not support its compression.
    """
    with path.open("rb") as file:
        if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
            raise CorpusError(f"{path} is no .deb: it does not begin with {_AR_MAGIC!r}")
        while len(header := file.read(_AR_HEADER_SIZE)) == _AR_HEADER_SIZE:
            name = header[:16].decode("ascii").rstrip(" /")
            size = int(header[48:58])
            if name.startswith("data.tar"):
                yield from _read_tar(path, name, file.read(size), wanted)
                return
            file.seek(size + size % 2, 1)  # members are padded to even offsets
    raise CorpusError(f"{path} is no .deb: it has no data.tar")


def _read_tar(
    path: Path, name: str, content: bytes, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as tar:
            for member in tar:
                inside = member.name.removeprefix("./")
                if member.isfile() and wanted(inside):
                    extracted = tar.extractfile(member)
                    assert extracted is not None
                    yield inside, extracted.read()
    except (tarfile.TarError, EOFError) as error:
        raise CorpusError(f"{path}: cannot read {name}: {error}") from error
