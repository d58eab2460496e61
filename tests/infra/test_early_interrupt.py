"""Ctrl-C while a program imports its modules, and what a package leaves alone as a library."""

import os
import signal
import subprocess
import sys

import pytest

from tests.experiments.forked import ROOT

PROGRAMS = [
    *(f"experiments.{path.stem}" for path in (ROOT / "experiments").glob("[!_]*.py")),
    "data.prepare",
]
INTERRUPTING = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
raise SystemExit("not stopped")
"""
HANDLER = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"


def heed():
    """Undoes what a shell does to its background jobs, of which the test run may be one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments, search=(), first=heed):
    path = os.pathsep.join(map(str, (*search, ROOT)))
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        preexec_fn=first,
    )


@pytest.fixture
def interrupting(tmp_path):
    """Holds a library that all programs import, whose import brings a SIGINT."""
    (tmp_path / "absl.py").write_text(INTERRUPTING)
    return tmp_path


@pytest.mark.parametrize("program", sorted(set(PROGRAMS) - {"experiments.interrupt"}))
def test_a_program_stopped_while_it_imports_says_one_line(program, interrupting):
    done = start("-m", program, "--help", search=[interrupting])
    assert done.stderr == "\nstopped by Ctrl-C\n"
    assert done.returncode == 130


def test_an_ignored_signal_stays_ignored(interrupting):
    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    done = start("-m", "experiments.train", search=[interrupting], first=ignore)
    assert done.stderr == "not stopped\n"


def test_who_imports_the_packages_keeps_the_handler():
    assert start("-c", f"import data, experiments; {HANDLER}").stdout == "True\n"


def test_a_program_that_runs_gets_keyboard_interrupts(tmp_path):
    """As the programs' own handling of Ctrl-C needs: the end of a stream, of a training."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text((ROOT / "experiments/__init__.py").read_text())
    (package / "program.py").write_text(
        "from rnnt_qat.infra.program import run\n"
        f"{HANDLER}\n"
        "def main():\n"
        f"    {HANDLER}\n"
        "run(main)\n"
    )
    assert start("-m", "package.program", search=[tmp_path]).stdout == "False\nTrue\n"
