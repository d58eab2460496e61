"""Base class of user errors, and what is a fault of the machine rather than of a file."""

import errno

_MACHINE_FAULTS = frozenset(
    [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM]
)


class UserError(Exception):
    """An error that the user can correct from its message.

    The binaries print it as one line without a traceback (``infra/program.py``). Its message
    names the flag, field, file or folder at fault and says what to do.
    """


def is_machine_fault(error: BaseException) -> bool:
    """Returns whether memory, disk or open files ran out, so that the file read is not to blame."""
    of_the_system = isinstance(error, OSError) and error.errno in _MACHINE_FAULTS
    return isinstance(error, MemoryError) or of_the_system
