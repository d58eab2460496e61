"""Copy of a local folder in an object store, kept up to date from a background thread.

A store cannot replace a folder at once. So folders that belong together (a checkpoint, a model) are
*units*, each with a seal: the file that holds the checksums of the others. A seal is uploaded after
the unit's other files and deleted before them. So what has a seal is whole, and damage shows in its
checksums. Other files are copied before any unit that is new, so they are never older than one.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import threading
from collections.abc import Callable

from rnnt_qat.infra.lease import Lease
from rnnt_qat.infra.progress import Progress
from rnnt_qat.infra.remote_store import RemoteFolder, RemoteStoreError

_DOWNLOADS = 2
"""Times that a unit is downloaded before it is taken for damaged in the store."""


class DamagedUnitError(RemoteStoreError):
    """A local unit that has changed since it was completed."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """Folders whose files belong together.

    Attributes:
      folders: regular expression of their names relative to the mirrored folder.
      seal: name of the file of checksums, written last.
      ready: returns whether a local folder is complete and will not change.
      intact: returns whether a local folder's files have the checksums of its seal.
      numbered: whether folders are named by numbers, newer ones by larger ones, and older ones are
        deleted in time. One that is missing beside a newer one was deleted.
    """

    folders: str
    seal: str
    ready: Callable[[pathlib.Path], bool]
    intact: Callable[[pathlib.Path], bool]
    numbered: bool = False


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is mirrored of a folder; everything else stays as it is on both sides.

    Attributes:
      units: folders whose files belong together.
      loose: regular expression of the names of other files. They may change at any time. They are
        copied together with units, or as soon as they change in a folder that has no units.
    """

    units: tuple[Unit, ...]
    loose: str

    def unit_of(self, name: str) -> tuple[str, Unit] | None:
        """Returns the folder of the unit that a file belongs to, and its kind."""
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            for unit in self.units:
                if re.fullmatch(unit.folders, folder):
                    return folder, unit
        return None

    def is_loose(self, name: str) -> bool:
        """Returns whether a file is mirrored by itself."""
        hidden = any(part.startswith(".") for part in name.split("/"))
        return not hidden and self.unit_of(name) is None and bool(re.fullmatch(self.loose, name))


class Mirror:
    """Two copies of a folder; the remote one counts.

    Args:
      local: the local folder, which no other process writes to.
      remote: the remote folder.
      layout: what is mirrored.
      require: called before anything is replaced or deleted; raises if the remote folder is no
        longer ours.
    """

    def __init__(
        self,
        local: pathlib.Path,
        remote: RemoteFolder,
        layout: Layout,
        require: Callable[[], None] = lambda: None,
    ):
        self._local, self._remote, self._layout = local, remote, layout
        self._require = require
        self._seals: dict[str, bytes] = {}  # of the remote units, by folder
        self._names: dict[str, set[str]] = {}  # of the remote units' files, by folder
        self._loose: dict[str, tuple[int, int]] = {}  # size and time of what was uploaded
        self._missing: set[str] = set()

    def pull(self, keep_local: bool = False, progress: Progress | None = None) -> None:
        """Makes the local folder equal to the remote one.

        Units without a seal, which an ended upload left behind, are deleted from the store.

        Args:
          keep_local: whether what is in the local folder stays as it is, because it is newer; only
            what it lacks is downloaded, except for what was deleted there: the next uploads delete
            that in the store, too.
          progress: shows how much is done.
        """
        there = self._remote.files()
        self._names, self._seals = {}, {}
        for name in there:
            if found := self._layout.unit_of(name):
                self._names.setdefault(found[0], set()).add(name)
        loose = [name for name in there if self._layout.is_loose(name)]
        steps = [*loose, *self._names]
        for name in steps if progress is None else progress.each(steps, len(steps)):
            if name in self._names:
                self._pull_unit(name, keep_local)
            elif not (keep_local and (self._local / name).exists()):
                self._remote.download(name, self._local / name)
                self._loose[name] = _state(self._local / name)
        if keep_local:
            return
        for name in filter(self._layout.is_loose, _files(self._local)):
            if name not in there:
                (self._local / name).unlink()
        for folder in self._local_units().keys() - self._seals.keys():
            shutil.rmtree(self._local / folder)

    def push(self, final: bool = False) -> list[str]:
        """Makes the remote folder equal to the local one.

        Args:
          final: whether nothing will change any more, so that all is compared. Otherwise loose
            files are copied only together with a new unit, where there are units.

        Returns:
          The folders of the units uploaded.
        """
        present = self._local_units()
        units = {f: unit for f, unit in present.items() if self._ready(f, unit)}
        new = [f for f, unit in units.items() if self._seals.get(f) != self._local_seal(f, unit)]
        # Also those that vanished while they were uploaded, which have no seal.
        missing = self._names.keys() - present.keys()
        if new or final or not self._layout.units:
            self._push_loose()
        uploaded = [f for f in sorted(new, key=_in_order) if self._push_unit(f, units[f])]
        # A unit that is being replaced is missing for an instant, so what is missing twice is gone.
        for folder in sorted(missing if final else missing & self._missing):
            self._delete_unit(folder)
        self._missing = missing
        return uploaded

    def _pull_unit(self, folder: str, keep_local: bool) -> None:
        """Downloads a unit with a seal, the seal last; deletes one without from the store."""
        unit, local = self._unit(folder), self._local / folder
        seal = f"{folder}/{unit.seal}"
        content = self._remote.read(seal) if seal in self._names[folder] else None
        if content is None:
            self._require()
            self._remote.delete(sorted(self._names.pop(folder)))
            return
        self._seals[folder] = content
        if keep_local and (self._ready(folder, unit) or self._was_deleted(folder, unit)):
            return
        tries = 0
        while content != self._local_seal(folder, unit) or not unit.intact(local):
            if tries == _DOWNLOADS:
                return  # so it is damaged in the store; who reads it says so
            tries += 1
            shutil.rmtree(local, ignore_errors=True)
            for name in sorted(self._names[folder], key=lambda n: (n == seal, n)):
                self._remote.download(name, self._local / name)

    def _push_loose(self) -> None:
        changed = []
        for name in filter(self._layout.is_loose, _files(self._local)):
            with contextlib.suppress(FileNotFoundError):  # it was renamed or deleted meanwhile
                if self._loose.get(name) != _state(self._local / name):
                    changed.append(name)
        gone = [name for name in self._loose if not (self._local / name).exists()]
        if changed or gone:
            self._require()
        for name in changed:
            with contextlib.suppress(FileNotFoundError):
                state = _state(self._local / name)
                self._remote.upload(self._local / name, name)
                self._loose[name] = state
        self._remote.delete(gone)
        for name in gone:
            del self._loose[name]

    def _push_unit(self, folder: str, unit: Unit) -> bool:
        """Uploads a unit; returns False if it vanished or changed meanwhile.

        Raises:
          DamagedUnitError: if it is damaged, so that the store keeps the former one.
        """
        seal, content = f"{folder}/{unit.seal}", self._local_seal(folder, unit)
        names = {f"{folder}/{name}" for name in _files(self._local / folder)}
        if not unit.intact(self._local / folder):
            if content is None or content != self._local_seal(folder, unit):
                return False
            raise DamagedUnitError(
                f"{self._local / folder} is damaged: not uploaded to {self._remote.url}"
            )
        self._require()
        if folder in self._seals:  # of other content
            self._remote.delete([seal])
            del self._seals[folder]
        self._names[folder] = self._names.get(folder, set()) | names
        try:
            for name in sorted(names - {seal}):
                self._remote.upload(self._local / name, name)
        except FileNotFoundError:
            content = None
        if content is None or content != self._local_seal(folder, unit):
            return False
        self._remote.delete(sorted(self._names[folder] - names))
        self._names[folder] = names
        self._require()
        self._remote.write(seal, content)
        self._seals[folder] = content
        return True

    def _delete_unit(self, folder: str) -> None:
        seal = f"{folder}/{self._unit(folder).seal}"
        self._require()
        self._remote.delete(sorted(self._names[folder], key=lambda name: (name != seal, name)))
        del self._names[folder]
        self._seals.pop(folder, None)

    def _unit(self, folder: str) -> Unit:
        found = self._layout.unit_of(f"{folder}/file")
        assert found is not None, folder
        return found[1]

    def _local_units(self) -> dict[str, Unit]:
        """Returns the kinds of the local units, complete or not, by folder."""
        return dict(filter(None, map(self._layout.unit_of, _files(self._local))))

    def _ready(self, folder: str, unit: Unit) -> bool:
        return (self._local / folder / unit.seal).is_file() and unit.ready(self._local / folder)

    def _was_deleted(self, folder: str, unit: Unit) -> bool:
        local = self._local / folder
        if not unit.numbered or local.exists():
            return False
        beside = {path.name for path in local.parent.glob("*") if path.name.isdigit()}
        return any(
            int(name) > int(local.name)
            and self._ready(f"{pathlib.Path(folder).parent}/{name}", unit)
            for name in beside
        )

    def _local_seal(self, folder: str, unit: Unit) -> bytes | None:
        try:
            return (self._local / folder / unit.seal).read_bytes()
        except FileNotFoundError:
            return None


class MirrorThread:
    """Uploads what is new in a mirrored folder from a thread, until it is closed.

    A store that fails is asked again and again, with a warning each time; every other error ends
    the thread and is raised by ``check`` and ``close``.

    Args:
      mirror: the folder.
      lease: lease on the remote folder.
      say: prints a line.
      period_s: time between two looks at the local folder, in seconds.
      longest_pause_s: time between two tries of a store that keeps failing, in seconds.
    """

    def __init__(
        self,
        mirror: Mirror,
        lease: Lease,
        say: Callable[[str], None],
        period_s: float = 1.0,
        longest_pause_s: float = 60.0,
    ):
        self._mirror, self._lease, self._say = mirror, lease, say
        self._period, self._longest = period_s, longest_pause_s
        self._error: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="mirror")
        self._thread.start()

    def check(self) -> None:
        """Raises what ended the thread.

        Raises:
          WorkdirInUseError: if another run took over the remote folder.
        """
        self._lease.check()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Ends the thread and uploads what is left.

        Raises:
          RemoteStoreError: if it cannot be uploaded.
          WorkdirInUseError: if another run took over the remote folder.
        """
        self._ended.set()
        self._thread.join()
        self.check()
        self._mirror.push(final=True)

    def _run(self) -> None:
        pause = self._period
        while not self._ended.wait(pause):
            try:
                self._mirror.push()
                pause = self._period
            except RemoteStoreError as error:
                pause = min(2 * pause, self._longest)
                self._say(
                    f"warning: {error}; tried again in {pause:.0f} s. What is not uploaded is on "
                    "this machine alone"
                )
            except Exception as error:
                self._error = error
                return


def _in_order(folder: str) -> tuple[str | int, ...]:
    """Returns a sort key under which numbers in names are numbers: step 9 before step 10."""
    return tuple(int(p) if p.isdigit() else p for p in re.split(r"(\d+)", folder))


def _files(folder: pathlib.Path) -> list[str]:
    """Returns the names of all files below a folder, sorted; it may change meanwhile."""
    found = []
    for root, _, names in os.walk(folder):
        found += [(pathlib.Path(root) / name).relative_to(folder).as_posix() for name in names]
    return sorted(found)


def _state(file: pathlib.Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns
