"""The line at a program's end that names the command after it."""

import shlex
from collections.abc import Mapping, Sequence

Flags = Mapping[str, str | int | Sequence[str] | None]


def command(module: str, flags: Flags) -> str:
    """Returns a command line that a shell takes as it is.

    Args:
      module: the program, e.g. ``experiments.train``.
      flags: values by flag; several are joined by commas, None leaves the flag out.
    """
    given = (
        f"--{name}={value if isinstance(value, str | int) else ','.join(value)}"
        for name, value in flags.items()
        if value is not None
    )
    return shlex.join(["python", "-m", module, *given])


def next_line(line: str) -> str:
    """Returns the last line of a program's output, given the command."""
    return f"next: {line}"
