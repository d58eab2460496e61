"""Local copies of remote folders: for reading, one per content; for writing, until uploaded."""

import contextlib
import hashlib
import json
import pathlib
import shutil
import uuid
from collections.abc import Callable, Iterator

from rnnt_qat.infra.remote_store import RemoteFolder, RemoteStoreError
from rnnt_qat.infra.user_cache import user_cache

_TRIES = 3


def local_copy(url: str, wanted: Callable[[str], bool] = lambda name: True) -> pathlib.Path:
    """Returns a local copy of a remote folder; it is downloaded if there is none of its content.

    Copies are kept in ``~/.cache/rnnt_qat/copies`` (``XDG_CACHE_HOME``), one for each content, and
    can be deleted at any time.

    Args:
      url: the remote folder.
      wanted: returns whether a file is copied, by its name relative to the folder.

    Raises:
      RemoteStoreError: if the folder cannot be read, holds no such files, or changes all the time.
    """
    remote = RemoteFolder(url)
    for _ in range(_TRIES):
        files = {name: version for name, version in remote.files().items() if wanted(name)}
        if not files:
            raise RemoteStoreError(f"{url} holds nothing: check the path")
        content = json.dumps([remote.url, files], sort_keys=True)
        key = hashlib.sha256(content.encode()).hexdigest()[:24]
        # The path ends like the URL, for messages that name it.
        copy = user_cache("copies") / key / remote.url.replace("://", "/")
        if copy.is_dir():
            return copy
        partial = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}")
        try:
            for name in files:
                remote.download(name, partial / name)
            now = {name: version for name, version in remote.files().items() if wanted(name)}
            if now == files:
                try:
                    partial.rename(copy)
                except OSError:
                    if not copy.is_dir():  # else another process was faster
                        raise
                return copy
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    raise RemoteStoreError(f"{url} changed while it was downloaded; try again when it is written")


@contextlib.contextmanager
def uploaded_folder(url: str, last: tuple[str, ...] = ()) -> Iterator[pathlib.Path]:
    """Yields a new local folder whose files are uploaded when the context exits.

    They are uploaded after an error, too, as a local folder would keep them.

    Args:
      url: the remote folder; its other files are kept.
      last: names of files that say that the folder they are in is complete; uploaded last.

    Raises:
      RemoteStoreError: if the remote folder cannot be written. The message names the local folder,
        which is then kept.
    """
    remote = RemoteFolder(url)
    probe = f".writable.{uuid.uuid4().hex}"
    remote.write(probe, b"")  # a long computation follows
    remote.delete([probe])
    parent = user_cache("outputs") / uuid.uuid4().hex
    folder = parent / pathlib.PurePosixPath(url).name
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        try:
            for path in sorted(files, key=lambda path: path.name in last):
                remote.upload(path, path.relative_to(folder).as_posix())
        except RemoteStoreError as error:
            raise RemoteStoreError(f"{error}. What was written is in {folder}") from error
        shutil.rmtree(parent)
