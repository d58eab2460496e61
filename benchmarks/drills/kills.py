"""kill -9, full disks, rivals: whatever ends a run, the same command ends it with the same model.

python -m benchmarks.drills.kills --cases=100 --seed=0

A tiny recognizer is trained through all stages with many checkpoints and evaluations. A case ends
its process: at a random moment, or at a random one of its operations on files (the n-th file that
is opened, renamed or removed in the working directory: inside checkpoint writes, deletions and
model directories). Then the same command goes on, is ended again, and at last is left alone; its
models must be those of the run that nothing disturbed, bit for bit.
"""

import argparse
import dataclasses
import fcntl
import importlib
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from rnnt_qat.infra.durable_files import checksum

CONFIG = "tests/experiments/tones_config.py"
LIMIT_S = 600.0
"""A run that takes longer hangs."""

_FILE_EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


@dataclasses.dataclass(frozen=True)
class Row:
    """What a kind of disturbance did.

    Attributes:
      name: the kind.
      cases: disturbances.
      runs: runs that they fell on, each taken to its end.
      failures: what went wrong, by the case's number.
    """

    name: str
    cases: int
    runs: int
    failures: dict[int, str]


@dataclasses.dataclass(frozen=True)
class _Ended:
    code: int
    output: str
    seconds: float


class Runs:
    """Forks of one process that has imported everything, each a ``train`` of the tiny recognizer.

    Args:
      root: takes the corpus, the compiled programs and the working directories.
    """

    def __init__(self, root: pathlib.Path):
        self.root = root
        # In a process of its own: reading corpora starts threads, which do not outlive forks.
        made = (
            "import pathlib, sys; from tests.experiments import tones; "
            "tones.prepare(pathlib.Path(sys.argv[1]))"
        )
        subprocess.run([sys.executable, "-c", made, str(root)], check=True, capture_output=True)
        self._data_dir = root / "corpora"
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(root / "compiled"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        self._train = importlib.import_module("experiments.train")

    def start(
        self, workdir: pathlib.Path, prepare: Callable[[], None] = lambda: None
    ) -> tuple[int, int]:
        """Begins a run; returns its process and the pipe that takes what it prints."""
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 2**20)  # more than a run prints
        child = os.fork()
        if child:
            os.close(writer)
            return child, reader
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        sys.argv = [
            "train",
            f"--config={CONFIG}",
            f"--data_dir={self._data_dir}",
            f"--workdir={workdir}",
            "--config.loop.checkpoint.every=3",
            "--config.loop.checkpoint.keep_last=1",
            "--config.loop.evaluate_every=6",
        ]
        code = 1
        try:
            prepare()
            self._train.run(self._train.main)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)

    def finish(self, child: int, output: int, kill_after: float = LIMIT_S) -> _Ended:
        """Waits for a run, which is killed after some seconds."""
        begun = time.monotonic()
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            seconds = time.monotonic() - begun
            if done:
                with open(output, "rb") as pipe:
                    text = pipe.read().decode(errors="replace")
                return _Ended(os.waitstatus_to_exitcode(status), text, seconds)
            if seconds > kill_after:
                os.kill(child, signal.SIGKILL)
                kill_after = float("inf")
            time.sleep(0.005)

    def whole(self, workdir: pathlib.Path) -> _Ended:
        """A run to its end."""
        return self.finish(*self.start(workdir))


def models(workdir: pathlib.Path) -> dict[str, str]:
    """Checksums of a run's models, and of what it recorded."""
    files = [*workdir.glob("models/*/variables.npz"), workdir / "metrics.jsonl"]
    return {str(file.relative_to(workdir)): checksum(file) for file in files if file.exists()}


def _kill_at_event(workdir: pathlib.Path, number: int) -> Callable[[], None]:
    """Has the process kill itself at the n-th operation on a file of its working directory."""

    def prepare() -> None:
        left, prefix = [number], str(workdir)

        def hook(event: str, arguments: tuple) -> None:
            if event in _FILE_EVENTS and str(arguments[0]).startswith(prefix):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)

    return prepare


def count_events(runs: Runs, workdir: pathlib.Path) -> int:
    """Operations on files of an undisturbed run's working directory."""
    counter = workdir.with_name("count")

    def prepare() -> None:
        counted, prefix = [0], str(workdir)
        descriptor = os.open(counter, os.O_CREAT | os.O_WRONLY)

        def hook(event: str, arguments: tuple) -> None:
            if event in _FILE_EVENTS and str(arguments[0]).startswith(prefix):
                counted[0] += 1
                os.pwrite(descriptor, f"{counted[0]:12d}".encode(), 0)

        sys.addaudithook(hook)

    ended = runs.finish(*runs.start(workdir, prepare))
    if ended.code:
        raise RuntimeError(f"the undisturbed run failed:\n{ended.output}")
    return int(counter.read_text())


def kills(runs: Runs, reference: dict[str, str], events: int, cases: int, seed: int) -> Row:
    """Kills ``cases`` times, each run as often as it is still on its way when its turn comes."""
    rng, failures = random.Random(seed), dict[int, str]()
    seconds = runs.whole(runs.root / "timed").seconds
    done = number = 0
    while done < cases:
        workdir, last = runs.root / f"kills_{number}", done
        number += 1
        while done < cases:
            if rng.random() < 0.5:
                prepare = _kill_at_event(workdir, rng.randrange(1, events))
                ended = runs.finish(*runs.start(workdir, prepare))
            else:
                child = runs.start(workdir)
                ended = runs.finish(*child, kill_after=rng.uniform(0, 1.1 * seconds))
            if ended.code != -signal.SIGKILL:
                break
            done += 1
        if ended.code == -signal.SIGKILL:
            ended = runs.whole(workdir)
        if ended.code or models(workdir) != reference:
            failures[last] = f"exit code {ended.code}\n{ended.output[-2000:]}"
    return Row("kill -9, then the same command again", done, number, failures)


def full_disks(runs: Runs, reference: dict[str, str], cases: int, seed: int) -> Row:
    """Files may not grow past a random size, as on a full disk; then they may."""
    rng, failures = random.Random(seed), dict[int, str]()
    for case in range(cases):
        workdir, limit = runs.root / f"full_{case}", int(2 ** rng.uniform(8, 17))

        def prepare(limit: int = limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        ended = runs.finish(*runs.start(workdir, prepare))
        if "Traceback" in ended.output or ended.code not in (0, 1):
            failures[case] = f"files up to {limit} bytes: {ended.code}\n{ended.output[-2000:]}"
            continue
        again = runs.whole(workdir)
        if again.code or models(workdir) != reference:
            failures[case] = f"after {limit} bytes: {again.code}\n{again.output[-2000:]}"
    return Row("full disk, then room again", cases, cases, failures)


def rivals(runs: Runs, reference: dict[str, str], cases: int, seed: int) -> Row:
    """A second process on a working directory in use is refused, and the first is not disturbed."""
    rng, failures = random.Random(seed), dict[int, str]()
    for case in range(cases):
        workdir = runs.root / f"rivals_{case}"
        first = runs.start(workdir)
        while not (workdir / ".lock").exists() or not (workdir / ".lock").read_text():
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        second, ended = runs.whole(workdir), runs.finish(*first)
        refused = second.code == 1 and f"{workdir} is in use by process {first[0]}" in second.output
        if not refused or ended.code or models(workdir) != reference:
            failures[case] = (
                f"{second.code} {second.output[-1500:]}\n{ended.code} {ended.output[-1500:]}"
            )
    return Row("two processes on one working directory", cases, cases, failures)


def read_only(runs: Runs) -> Row:
    """A working directory in which nothing can be made is refused by its name."""
    places = [pathlib.Path("/sys/run"), pathlib.Path("/dev/null/run")]
    failures = {}
    for case, workdir in enumerate(places):
        ended = runs.whole(workdir)
        if (
            ended.code != 1
            or "Traceback" in ended.output
            or str(workdir.parent) not in ended.output
        ):
            failures[case] = f"{workdir}: {ended.code}\n{ended.output[-2000:]}"
    return Row("working directory that cannot be written", len(places), len(places), failures)


def run(cases: int, seed: int) -> list[Row]:
    """All kinds: ``cases`` kills, a fifth as many full disks, a twentieth as many rivals."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(pathlib.Path(folder))
        whole = runs.root / "whole"
        events = count_events(runs, whole)
        reference = models(whole)
        return [
            kills(runs, reference, events, cases, seed),
            full_disks(runs, reference, max(1, cases // 5), seed),
            rivals(runs, reference, max(1, cases // 20), seed),
            read_only(runs),
        ]


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| disturbance | cases | runs | failures |", "|---|--:|--:|--:|"]
    lines += [f"| {r.name} | {r.cases} | {r.runs} | {len(r.failures)} |" for r in rows]
    return "\n".join(lines)


def main() -> int:
    """Prints the table, then what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100, help="kills")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = run(options.cases, options.seed)
    print(table(rows))
    for row in rows:
        for case, message in row.failures.items():
            print(f"\n{row.name}, case {case}:\n{message}")
    return int(any(row.failures for row in rows))


if __name__ == "__main__":
    sys.exit(main())
