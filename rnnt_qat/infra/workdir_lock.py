"""Lock that limits a working directory to one run at a time."""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
import sys
from collections.abc import Iterator

from rnnt_qat.infra.errors import UserError

LOCK = ".lock"
"""Name of the lock file in a working directory; the file is never deleted."""


class WorkdirInUseError(UserError):
    """An attempt to train in a working directory that another process uses."""


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Locks a working directory for this process while the context is active.

    The kernel releases the lock when the process ends, so the lock file of a killed process does
    not block later runs.

    Args:
      workdir: the working directory; created if missing.

    Raises:
      WorkdirInUseError: if another process holds the lock; the message names it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise  # the file system does not support locks
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise WorkdirInUseError(
                f"{workdir} is in use by {holder}: wait until that run ends, end it, or choose "
                "another --workdir"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} ({' '.join(sys.argv)})\n")
        file.flush()
        yield
