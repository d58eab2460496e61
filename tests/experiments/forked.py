"""Runs a binary many times for the price of importing it once: a fork for each command line.

As a program: ``python -m tests.experiments.forked MODULE < COMMAND_LINES.json``.
"""

import dataclasses
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative: a signal) and what it printed."""

    code: int
    out: str
    err: str


def run_all(
    module: str,
    commands: Mapping[str, Sequence[str]],
    cwd: pathlib.Path = ROOT,
    parse_only: bool = False,
):
    """``Ended`` of every command line of a binary, by the command lines' names.

    Args:
      module: the binary.
      commands: command lines without the program's name.
      cwd: where they run.
      parse_only: stop once the flags are parsed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.experiments.forked", module, *["parse"] * parse_only],
        input=json.dumps({name: list(argv) for name, argv in commands.items()}),
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return {name: Ended(**ended) for name, ended in json.loads(done.stdout).items()}


def main() -> None:
    """Forks for each command line of stdin; writes how each ended to stdout."""
    module = importlib.import_module(sys.argv[1])
    runner = getattr(module, "run", None) or module.program.run
    main = module.main if len(sys.argv) < 3 else lambda: None
    ended = {}
    for name, argv in json.loads(sys.stdin.read()).items():
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if not child:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                signal.alarm(120)  # a mistake that is not noticed may train for hours
                sys.argv = [module.__file__, *argv]
                try:
                    runner(main)
                except SystemExit as stop:
                    sys.stdout.flush()
                    if isinstance(stop.code, str):
                        print(stop.code, file=sys.stderr)
                    sys.stderr.flush()
                    os._exit(stop.code if isinstance(stop.code, int) else bool(stop.code))
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                    sys.stderr.flush()
                    os._exit(1)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
            ended[name] = Ended(os.waitstatus_to_exitcode(status), *texts)
    print(json.dumps({name: dataclasses.asdict(end) for name, end in ended.items()}))


if __name__ == "__main__":
    main()
