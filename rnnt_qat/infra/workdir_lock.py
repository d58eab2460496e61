"""One run at a time in a working directory."""

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
"""Name of the file that is locked in a working directory; it stays there, empty or not."""


class WorkdirInUseError(UserError):
    """Another process trains in the working directory."""


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Holds a working directory for this process while entered.

    The kernel drops the lock with the process, however it ends: a lock file that a killed process
    left behind holds nobody up.

    Args:
      workdir: created if missing.

    Raises:
      WorkdirInUseError: naming the process that holds it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise  # a file system without locks
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
