"""What tells a user's mistake from a fault of the program."""


class UserError(Exception):
    """An error that whoever started the program can mend from its message alone.

    The binaries print it as one line without a traceback (``experiments/run.py``). Its message
    names the flag, field, file or folder at fault and says what to do.
    """
