"""Tasks in processes of their own: all done, faults named, nobody left behind."""

import dataclasses
import io
import os
import pathlib
import platform
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from absl import logging

from rnnt_qat.infra.console import Console
from rnnt_qat.infra.errors import UserError
from rnnt_qat.studies.process_engine import Processes, TaskStoppedError


@dataclasses.dataclass(frozen=True)
class Meeting:
    """Writes its file and returns when another task's file is there too."""

    folder: pathlib.Path
    name: str
    other: str
    is_done: bool = False

    def __call__(self, console):
        (self.folder / self.name).write_text(str(os.getpid()))
        deadline = time.monotonic() + 60
        while not (self.folder / self.other).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        console.say(f"met {self.other}")
        logging.warning("no room for %s", self.name)


@dataclasses.dataclass(frozen=True)
class Failing:
    """Fails in one of several ways, or waits until it is stopped."""

    folder: pathlib.Path
    name: str
    is_done: bool = False

    def __call__(self, console):
        if self.name == "wrong path":
            raise UserError("models/float is missing: train it")
        if self.name == "fault":
            raise KeyError("no such thing")
        if self.name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        (self.folder / f"{self.name}.pid").write_text(str(os.getpid()))
        time.sleep(120)


@dataclasses.dataclass(frozen=True)
class Allocating:
    """Counts the new pages of a block in a thread, and those of another one after it is freed."""

    folder: pathlib.Path
    name: str = "allocating"
    is_done: bool = False

    def __call__(self, console):
        def work():
            for count in ("first", "second"):
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                np.ones(64 << 20, np.uint8)
                pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
                (self.folder / count).write_text(str(pages))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


def nothing():
    """Sets up nothing."""


def test_tasks_run_beside_each_other(tmp_path, capfd):
    stream = io.StringIO()
    tasks = [Meeting(tmp_path, "a", "b"), Meeting(tmp_path, "b", "a"), Meeting(tmp_path, "c", "a")]
    Processes(2, tmp_path / "logs", nothing).run(tasks, Console(stream))
    lines = stream.getvalue().splitlines()
    assert {"a: met b", "b: met a", "c: met a"} <= set(lines)
    assert "3/3" in lines[-1]
    assert sorted(capfd.readouterr().err.splitlines()) == [
        f"warning: no room for {name}" for name in "abc"
    ]
    assert (tmp_path / "logs/task_2.log").read_text() == "met a\n"
    assert len({(tmp_path / name).read_text() for name in "abc"} | {str(os.getpid())}) == 4


def test_tasks_that_are_all_done_wait_for_no_process(tmp_path):
    (tmp_path / "b").touch()
    stream, begun = io.StringIO(), time.monotonic()
    tasks = [Meeting(tmp_path, "a", "b", is_done=True), Meeting(tmp_path, "c", "b", is_done=True)]
    Processes(2, tmp_path / "logs", nothing).run(tasks, Console(stream))
    assert "2/2" in stream.getvalue().splitlines()[-1]
    assert time.monotonic() - begun < 2.0


def test_tasks_that_say_nothing_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnt_qat.studies.process_engine.QUIET_SECONDS", 0.01)
    stream = io.StringIO()
    task = Meeting(tmp_path, "a", "a")  # its process imports its modules before it speaks
    Processes(1, tmp_path / "logs", nothing).run([task], Console(stream))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "0/1 in 0 s"
    assert lines[-1].startswith("a: 1/1 in ")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("wrong path", TaskStoppedError, "wrong path: UserError: models/float is missing"),
        ("killed", TaskStoppedError, "killed: its process ended with exit code -9"),
        ("fault", RuntimeError, r"fault failed in its process:\n.*KeyError: 'no such thing'"),
    ],
)
def test_a_failure_is_named_and_stops_the_others(tmp_path, name, error, message):
    tasks = [Failing(tmp_path, "waiting"), Failing(tmp_path, name)]
    begun = time.monotonic()
    with pytest.raises(error, match=f"(?s){message}"):
        Processes(2, tmp_path / "logs", nothing).run(tasks, Console(io.StringIO()))
    assert time.monotonic() - begun < 60
    assert_gone(tmp_path)


def test_no_process_outlives_the_one_that_started_it(tmp_path):
    program = (
        "import pathlib, sys; sys.path[:0] = sys.argv[2:]\n"
        "from tests.studies.test_process_engine import Failing, nothing\n"
        "from rnnt_qat.infra.console import Console\n"
        "from rnnt_qat.studies.process_engine import Processes\n"
        "if __name__ == '__main__':\n"
        "    folder = pathlib.Path(sys.argv[1])\n"
        "    Processes(1, folder, nothing).run([Failing(folder, 'waiting')], Console())\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    root = str(pathlib.Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path), root])
    deadline = time.monotonic() + 60
    while not (tmp_path / "waiting.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert_gone(tmp_path)


def assert_gone(folder):
    """Asserts that the waiting task's process ends within some seconds."""
    if not (folder / "waiting.pid").exists():
        return  # stopped before it had begun
    pid, deadline = int((folder / "waiting.pid").read_text()), time.monotonic() + 20
    while pathlib.Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


def _state(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_threads_of_a_task_keep_freed_blocks(tmp_path, monkeypatch):
    """XLA computes in threads, and a step's temporaries are as large as the step before's."""
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NUMPY_MADVISE_HUGEPAGE", "0")
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("not glibc")
    Processes(1, tmp_path / "logs", nothing).run([Allocating(tmp_path)], Console(io.StringIO()))
    assert int((tmp_path / "first").read_text()) > 10_000
    assert int((tmp_path / "second").read_text()) < 100
