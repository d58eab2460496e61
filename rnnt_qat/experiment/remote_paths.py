"""Working directories, models and outputs in object stores (``gs://``, ``s3://``)."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
import uuid
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from rnnt_qat.artefact import artefact
from rnnt_qat.experiment.recognizer import (
    MANIFEST,
    ModelDirectoryError,
    model_directories,
    read_manifest,
)
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.durable_files import changed_files, write_text
from rnnt_qat.infra.lease import Lease, LeaseTimes
from rnnt_qat.infra.mirror import Layout, Mirror, MirrorThread, Unit
from rnnt_qat.infra.processes import wait_for_all
from rnnt_qat.infra.progress import Progress
from rnnt_qat.infra.remote_copy import local_copy, uploaded_folder
from rnnt_qat.infra.remote_store import RemoteFolder, RemoteStoreError, is_remote
from rnnt_qat.infra.user_cache import user_cache
from rnnt_qat.infra.workdir_lock import locked
from rnnt_qat.training.checkpoints import CHECKSUMS, incomplete

_MANIFESTS = (MANIFEST, artefact.MANIFEST)
"""Files by which models and artefacts are recognized."""

_LONGEST_DOWNLOAD_S = 4 * 3600


def _checkpoint_intact(folder: pathlib.Path) -> bool:
    try:
        return not changed_files(folder, json.loads((folder / CHECKSUMS).read_text("utf-8")))
    except (OSError, ValueError, AttributeError):
        return False


def _model_intact(folder: pathlib.Path) -> bool:
    try:
        return bool(read_manifest(folder))
    except (ModelDirectoryError, OSError):
        return False


WORKDIR = Layout(
    units=(
        Unit(
            r"checkpoints/\d+_[^/]+/\d+",
            CHECKSUMS,
            lambda folder: not incomplete(folder),
            _checkpoint_intact,
            numbered=True,
        ),
        Unit(r"models/[^./][^/]*", MANIFEST, lambda folder: True, _model_intact),
    ),
    loose=r"(?!.*\.partial$)([^/]+|tensorboard/.*)",
)
"""What of a working directory is mirrored: what a run needs to go on, and what it leaves."""


@dataclasses.dataclass(frozen=True)
class OpenWorkdir:
    """A working directory that a run may write to.

    Attributes:
      path: local folder.
      name: the path or URL that was given.
      check: raises an error that should end the run; called after each checkpoint.
    """

    path: pathlib.Path
    name: str
    check: Callable[[], None] = lambda: None


@contextlib.contextmanager
def open_workdir(
    path: str, console: Console, times: LeaseTimes | None = None, layout: Layout = WORKDIR
) -> Iterator[OpenWorkdir]:
    """Opens the working directory of a run, which may be in an object store.

    A remote one is downloaded to a folder of this machine, and what is new there is uploaded from a
    thread: each checkpoint and model as soon as it is complete, and everything when the context
    exits, after an error too. All processes of a job must share that folder.

    Args:
      path: a folder, or a URL.
      console: receives what happens.
      times: times of the lease by which other runs know of this one; None for the default.
      layout: what of the folder is mirrored.

    Raises:
      WorkdirInUseError: if another run uses the working directory, on any machine.
      RemoteStoreError: if the store cannot be read or written.
    """
    if not is_remote(path):
        yield OpenWorkdir(pathlib.Path(path), path)
        return
    remote = RemoteFolder(path)
    digest = hashlib.sha256(remote.url.encode()).hexdigest()[:24]
    home = user_cache("workdirs") / digest
    local = home / pathlib.PurePosixPath(remote.url).name
    if jax.process_index():
        _require_shared(home)
        yield OpenWorkdir(local, remote.url)
        return
    with locked(home):
        with Progress(f"waiting for {remote.url}", console, remains=False):
            lease = Lease(remote, home / "identity", console.say, times)
        mirror = Mirror(local, remote, layout, lease.require)
        try:
            _pull(mirror, local, home / "pulled", lease.was_ours, remote.url, console)
            _require_shared(home)
        except BaseException:
            lease.release()
            raise
        thread = MirrorThread(mirror, lease, console.say)
        try:
            yield OpenWorkdir(local, remote.url, thread.check)
        finally:
            try:
                with Progress(f"uploading to {remote.url}", console):
                    thread.close()
            except RemoteStoreError as error:
                raise RemoteStoreError(
                    f"{error}. All of the run is in {local}; the same command on this machine "
                    "uploads it"
                ) from error
            lease.release()


def _pull(
    mirror: Mirror,
    local: pathlib.Path,
    marker: pathlib.Path,
    was_ours: bool,
    url: str,
    console: Console,
) -> None:
    """Downloads a working directory; keeps what a killed run of this machine had not uploaded.

    Args:
      mirror: the working directory's two copies.
      local: the local one.
      marker: file that exists if the local one was downloaded whole.
      was_ours: whether no other machine has written to the remote one since.
      url: the remote one.
      console: shows the progress.
    """
    keeps = was_ours and marker.exists()
    if not keeps:
        marker.unlink(missing_ok=True)
    local.mkdir(exist_ok=True)
    with Progress(f"downloading {url}", console, unit="files") as progress:
        mirror.pull(keeps, progress)
    marker.touch()


def _require_shared(home: pathlib.Path) -> None:
    """Waits until process 0 has prepared a folder, and checks that every process sees it.

    Raises:
      RemoteStoreError: on every process, if one does not.
    """
    if jax.process_count() == 1:
        return
    # The folder's own name is the same everywhere; above it, each process may have another cache.
    wait_for_all(f"prepared {home.name}", _LONGEST_DOWNLOAD_S)
    token = uuid.uuid4().hex
    if jax.process_index() == 0:
        write_text(home / "job", token)
    # What process 0 sends is there only after it has written the file.
    sent = multihost_utils.broadcast_one_to_all(np.frombuffer(token.encode(), np.uint8))
    file = home / "job"
    sees = file.is_file() and file.read_bytes() == np.asarray(sent).tobytes()
    blind = np.flatnonzero(~multihost_utils.process_allgather(np.asarray(sees)))
    if blind.size:
        raise RemoteStoreError(
            f"of the job's processes, {', '.join(map(str, blind))} cannot see what process 0 wrote "
            f"for all (this one, {jax.process_index()}, looks in {home}): let XDG_CACHE_HOME name "
            "a folder that all of them share; checkpoints are written there"
        )


def readable_folder(path: str) -> pathlib.Path:
    """Returns a folder to read models or results from; a remote one is downloaded once.

    Checkpoints are left out.

    Args:
      path: a folder, or a URL of a model, an artefact, results or a working directory.

    Raises:
      RemoteStoreError: if it cannot be read.
    """
    if not is_remote(path):
        return pathlib.Path(path)
    return local_copy(path, lambda name: not re.search(r"(^|/)(checkpoints/|\.lease)", name))


@contextlib.contextmanager
def writable_folder(path: str, console: Console) -> Iterator[pathlib.Path]:
    """Yields a folder to write to; what is in it at the end is uploaded if ``path`` is remote.

    Args:
      path: a folder, or a URL.
      console: is told of the upload.

    Raises:
      RemoteStoreError: if it cannot be written.
    """
    if not is_remote(path):
        yield pathlib.Path(path)
        return
    with uploaded_folder(path, last=_MANIFESTS) as folder:
        yield folder
    console.say(f"uploaded to {path}")


def place_of(file: pathlib.Path, folder: pathlib.Path, path: str) -> str:
    """Returns how a file of a ``writable_folder`` is called: by its URL if that is remote.

    Args:
      file: the file, in ``folder``.
      folder: what ``writable_folder`` yielded.
      path: the folder or URL that it was asked for.
    """
    if not is_remote(path):
        return str(file)
    return f"{path.rstrip('/')}/{file.relative_to(folder).as_posix()}"


def absolute_place(path: str) -> str:
    """Returns the absolute path of a folder, or a URL without slashes at its end.

    Names can be appended to it after a slash, and other processes of this machine find it.
    """
    return path.rstrip("/") if is_remote(path) else str(pathlib.Path(path).absolute())


def model_places(path: str) -> list[str]:
    """Returns the paths or URLs of all complete model directories below a folder or URL.

    Raises:
      RemoteStoreError: if a store cannot be read.
    """
    if not is_remote(path):
        return list(map(str, model_directories(pathlib.Path(path))))
    files = map(pathlib.PurePosixPath, RemoteFolder(path).files())
    folders = sorted(file.parent.as_posix() for file in files if file.name == MANIFEST)
    return [path.rstrip("/") + ("" if folder == "." else f"/{folder}") for folder in folders]


def is_empty(path: str) -> bool:
    """Returns whether a folder that may be remote holds no files, or is no folder."""
    if is_remote(path):
        return not RemoteFolder(path).files()
    folder = pathlib.Path(path)
    return not folder.is_dir() or not any(folder.iterdir())
