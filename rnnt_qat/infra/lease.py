"""Lease that limits a remote folder to one run at a time.

Object stores have no locks. The holder of the lease renews a small file; who finds it renewed is
refused, who finds it left alone for ``EXPIRES_S`` takes over. Two that take over in the same
instant both believe to hold it until the next renewal, where all but one lose it.
"""

import dataclasses
import json
import os
import pathlib
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable

from rnnt_qat.infra.durable_files import write_text
from rnnt_qat.infra.remote_store import RemoteFolder, RemoteStoreError
from rnnt_qat.infra.workdir_lock import WorkdirInUseError

LEASE = ".lease.json"
"""Name of the file in the remote folder."""

_RETRY_TURNS = 100


@dataclasses.dataclass(frozen=True)
class LeaseTimes:
    """Times of a lease in seconds.

    Attributes:
      renewed_s: between two renewals.
      expires_s: without renewal after which a lease is taken over; several times ``renewed_s``.
    """

    renewed_s: float = 15.0
    expires_s: float = 60.0


class Lease:
    """A lease on a remote folder, acquired by the constructor and renewed by a thread.

    Args:
      remote: the folder.
      identity: local file that names this machine's runs in the folder. Whoever uses the folder
        from here must hold a local lock, so a lease of the same identity belongs to a dead process
        and is taken over at once.
      say: prints a line.
      times: times of the lease.

    Attributes:
      was_ours: whether the last run here was of this machine and did not release the lease, so
        that nobody has written to the folder since.

    Raises:
      WorkdirInUseError: if another run holds the lease; the message names it.
      RemoteStoreError: if the folder cannot be read or written.
    """

    def __init__(
        self,
        remote: RemoteFolder,
        identity: pathlib.Path,
        say: Callable[[str], None],
        times: LeaseTimes | None = None,
    ):
        self._remote, self._times = remote, times or LeaseTimes()
        self._machine = _identity(identity)
        self._id = uuid.uuid4().hex
        self._lost = ""
        self.was_ours = False
        self._ended = threading.Event()
        self._acquire(say)
        self._thread = threading.Thread(target=self._renew_until_ended, daemon=True, name="lease")
        self._thread.start()

    def require(self) -> None:
        """Checks that this run still holds the lease.

        Raises:
          WorkdirInUseError: if another run took it over.
        """
        self._check(self._remote.read(LEASE))
        self.check()

    def check(self) -> None:
        """Raises WorkdirInUseError if the loss of the lease was noticed, without asking."""
        if self._lost:
            raise WorkdirInUseError(self._lost)

    def release(self) -> None:
        """Ends the renewals and gives the lease up, unless it was lost."""
        self._ended.set()
        self._thread.join()
        if not self._lost and _field(self._remote.read(LEASE), "id") == self._id:
            self._remote.delete([LEASE])

    def _acquire(self, say: Callable[[str], None]) -> None:
        for _ in range(_RETRY_TURNS):
            found = self._remote.read(LEASE)
            if found is None:
                if self._remote.create(LEASE, self._content()):
                    return
                # Somebody else was faster, or the answer to our own write was lost and the store
                # was asked again. Others may have written to the folder since our last run.
                if _field(self._remote.read(LEASE), "id") == self._id:
                    return
                continue
            if self._belongs_to_the_living(found, say):
                raise WorkdirInUseError(self._in_use(found))
            self._remote.write(LEASE, self._content())
            if _field(self._remote.read(LEASE), "id") == self._id:
                self.was_ours = _field(found, "machine") == self._machine
                return
        raise RemoteStoreError(f"{self._remote.url}/{LEASE} changes all the time")

    def _belongs_to_the_living(self, found: bytes, say: Callable[[str], None]) -> bool:
        """Returns whether a lease is renewed, waiting for it if necessary."""
        if _field(found, "machine") == self._machine:
            return False
        expires = self._times.expires_s
        age = time.time() - float(_field(found, "renewed") or 0)
        # Twice, because the clocks of two machines differ; what is older is not waited for.
        if age > 2 * expires:
            return False
        say(
            f"{self._remote.url} was in use by {_field(found, 'holder')} {max(age, 0):.0f} s ago; "
            f"waiting up to {expires:.0f} s for a sign of it"
        )
        until = time.monotonic() + expires
        while time.monotonic() < until:
            time.sleep(min(1.0, expires / 10))
            if (now := self._remote.read(LEASE)) != found:
                return now is not None
        return False

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(self._times.renewed_s):
            try:
                if not self._check(self._remote.read(LEASE)):
                    return
                self._remote.write(LEASE, self._content())
            except RemoteStoreError:
                pass  # whoever uploads meets the same fault, and says so
            except Exception as error:
                self._lost = f"the lease of {self._remote.url} cannot be renewed: {error!r}"
                raise

    def _check(self, found: bytes | None) -> bool:
        """Notes whether another run took the lease; a deleted one is written again."""
        if found is not None and _field(found, "id") != self._id:
            self._lost = self._in_use(found)
        return not self._lost

    def _in_use(self, found: bytes) -> str:
        return (
            f"{self._remote.url} is in use by {_field(found, 'holder')}: wait until that run ends, "
            "end it, or choose another --workdir"
        )

    def _content(self) -> bytes:
        holder = f"process {os.getpid()} on {socket.gethostname()} ({' '.join(sys.argv)})"
        content = {
            "id": self._id,
            "machine": self._machine,
            "holder": holder,
            "renewed": time.time(),
        }
        return json.dumps(content).encode()


def _identity(path: pathlib.Path) -> str:
    """Returns the identity stored in a file, which is created if missing."""
    if not path.exists():
        write_text(path, uuid.uuid4().hex)
    return path.read_text("utf-8")


def _field(lease: bytes | None, name: str) -> str | None:
    """Returns a field of a lease as text; None if there is none, or it cannot be read."""
    try:
        content = json.loads(lease or b"{}")
        return str(content[name]) if isinstance(content, dict) and name in content else None
    except ValueError:
        return None
