"""Folders of object stores (``gs://``, ``s3://`` and whatever else fsspec reads and writes).

An object is written as a whole or not at all, but there is no renaming, no lock, and no way to
replace several objects at once: ``mirror`` and ``lease`` make up for that.
"""

import contextlib
import dataclasses
import errno
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from rnnt_qat.infra.errors import UserError, is_machine_fault
from rnnt_qat.missing_packages import install_extra

Result = TypeVar("Result")

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)")
# Of botocore and google-auth, which need not be installed.
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or a role of the machine, are "
    "those of s3://; GOOGLE_APPLICATION_CREDENTIALS names those of gs://"
)
_REFUSED = "the store does not know this machine's credentials, or they do not cover this"
_VERSION = ("ETag", "etag", "generation", "md5Hash", "crc32c", "mtime", "LastModified", "created")


class RemoteStoreError(UserError, RuntimeError):
    """An object store that cannot be reached, written or read."""


@dataclasses.dataclass(frozen=True)
class Retries:
    """How often a failed access is tried again.

    Attributes:
      attempts: number of tries, >= 1.
      pause_s: pause after the first one in seconds; doubled after each further one.
      longest_s: time since the first one in seconds after which there is no further one: clients
        of stores try again by themselves, for minutes where nothing answers.
    """

    attempts: int = 5
    pause_s: float = 0.5
    longest_s: float = 60.0


def is_remote(path: str) -> bool:
    """Returns whether a path names a folder of an object store; ``file://`` does not."""
    match = _SCHEME.fullmatch(path)
    return match is not None and match.group(1).lower() != "file"


class RemoteFolder:
    """A folder of an object store; names of files are relative to it, with slashes.

    Faults of the network are retried; missing files, missing permissions and a full local disk are
    not. Methods may be called from several threads.

    Args:
      url: the folder, e.g. ``s3://bucket/run``.
      retries: how often a failed access is tried again.

    Raises:
      RemoteStoreError: if nothing is installed that reads such a store.
    """

    def __init__(self, url: str, retries: Retries | None = None):
        self.url = url.rstrip("/")
        self._retries = retries or Retries()
        try:
            import fsspec

            # Listings must show what other machines have written since.
            self._fs, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise RemoteStoreError(
                f"{url}: {error}; {install_extra('remote')} installs what reads and writes s3:// "
                "and gs://, other stores need their package of fsspec"
            ) from error
        self._root = root.rstrip("/")

    def files(self) -> dict[str, str]:
        """Lists all files below the folder.

        Returns:
          By name, a text that changes when the file's content does.
        """

        def find() -> dict[str, Any]:
            self._fs.invalidate_cache()
            try:
                return self._fs.find(self._root, detail=True)
            except FileNotFoundError:
                return {}

        prefix = f"{self._root}/"
        return {
            path.removeprefix(prefix): _version(info)
            for path, info in sorted(self._attempt("list", "", find).items())
            if path.startswith(prefix) and info["type"] == "file" and not path.endswith("/")
        }

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file; None if it does not exist."""

        def cat() -> bytes | None:
            try:
                return self._fs.cat_file(self._path(name))
            except FileNotFoundError:
                return None

        return self._attempt("read", name, cat)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file."""
        self._attempt("write", name, lambda: self._fs.pipe_file(self._path(name), content))

    def create(self, name: str, content: bytes) -> bool:
        """Writes a file that does not exist; returns False if it exists."""

        def create() -> bool:
            try:
                self._fs.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
            except OSError as error:  # of S3, where somebody else's write came first
                # Where a store's answer does not say which condition failed, s3fs keeps the code
                # in the cause alone.
                if "PreconditionFailed" in f"{error} {error.__cause__}":
                    return False
                raise
            return True

        return self._attempt("write", name, create)

    def upload(self, file: pathlib.Path, name: str) -> None:
        """Copies a file of this machine into the folder.

        Args:
          file: the file.
          name: its name in the folder.

        Raises:
          FileNotFoundError: if the file does not exist, or no longer does.
        """
        self._attempt("write", name, lambda: self._fs.put_file(str(file), self._path(name)), file)

    def download(self, name: str, file: pathlib.Path) -> None:
        """Copies a file of the folder to this machine, atomically.

        Args:
          name: its name in the folder.
          file: where it goes; folders are created.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            self._attempt("read", name, lambda: self._fs.get_file(self._path(name), str(partial)))
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)

    def delete(self, names: Iterable[str]) -> None:
        """Deletes files in order; files that do not exist are passed over."""
        for name in names:

            def remove(name: str = name) -> None:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm_file(self._path(name))

            self._attempt("delete", name, remove)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _attempt(
        self,
        what: str,
        name: str,
        access: Callable[[], Result],
        source: pathlib.Path | None = None,
    ) -> Result:
        """Returns the result of an access, retried.

        Args:
          what: what is done, for the message.
          name: name of the file, for the message.
          access: the access.
          source: local file that it reads.
        """
        pause, began = self._retries.pause_s, time.monotonic()
        for attempt in range(1, self._retries.attempts + 1):
            try:
                return access()
            # Each store raises errors of its own libraries, which share no base class.
            except Exception as error:
                if is_machine_fault(error):
                    raise
                if source is not None and not source.exists():
                    raise FileNotFoundError(errno.ENOENT, "it is gone", str(source)) from error
                unknown = type(error).__name__ in _NO_CREDENTIALS
                final = unknown or isinstance(error, (FileNotFoundError, PermissionError))
                seconds = time.monotonic() - began
                spent = attempt == self._retries.attempts or seconds >= self._retries.longest_s
                if final or spent:
                    tries = "" if final else f" in {attempt} attempts ({seconds:.0f} s)"
                    raise RemoteStoreError(
                        f"cannot {what} {self.url}/{name}{tries}: {_explained(error)}"
                    ) from error
            time.sleep(pause)
            pause *= 2
        raise AssertionError("Retries.attempts is below 1")


def _explained(error: Exception) -> str:
    """Returns what a store's client says, and the mend if that is known."""
    said = f"{type(error).__name__}: {str(error).strip() or repr(error)}"
    if type(error).__name__ in _NO_CREDENTIALS:
        return f"{said}: {_CREDENTIALS}"
    if isinstance(error, PermissionError) and error.errno is None:  # else it is the disk's
        return f"{said}: {_REFUSED}"
    return said


def _version(info: dict[str, Any]) -> str:
    parts = [f"{key}={info[key]}" for key in _VERSION if info.get(key) is not None]
    return " ".join([f"size={info.get('size')}", *parts])
