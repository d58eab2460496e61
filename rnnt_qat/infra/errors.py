"""Base class of user errors, as opposed to faults of the program."""


class UserError(Exception):
    """An error that the user can correct from its message.

    The binaries print it as one line without a traceback (``infra/program.py``). Its message
    names the flag, field, file or folder at fault and says what to do.
    """
