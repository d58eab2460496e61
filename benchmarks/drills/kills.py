"""kill -9, full disks, rivals, lost peers: the same command ends every run with the same model.

python -m benchmarks.drills.kills --cases=100 --seed=0

Two trainings with many checkpoints are disturbed: the trainer on a toy model, which ends within a
second or two, and a tiny recognizer from its corpus to its model directories. A kill falls on a
random moment, or on a random one of the operations on files of the working directory (the n-th
file that is opened, renamed or removed: inside checkpoint writes, deletions and model directories).
Then the same command goes on, is killed again, and at last is left alone; what it leaves must be
that of the run that nothing disturbed, byte for byte. ``peers.py`` disturbs runs of two processes.
"""

import argparse
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

from benchmarks.drills import peers
from benchmarks.drills.runs import Ended, Program, Row, Run, environment

CONFIG = "tests/experiments/tones_config.py"

_FILE_EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


def recognizer(root: pathlib.Path) -> Program:
    """A tiny recognizer through all stages, evaluated and checkpointed often, on tones.

    Args:
        root: takes the corpus.
    """
    # In a process of its own: reading corpora starts threads, which do not outlive forks.
    made = "import pathlib, sys; from tests.experiments import tones; "
    made += "tones.prepare(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", made, str(root)], check=True, capture_output=True)
    from experiments import train

    def arguments(workdir: pathlib.Path) -> list[str]:
        return [
            f"--config={CONFIG}",
            f"--data_dir={root / 'corpora'}",
            f"--workdir={workdir}",
            "--config.pipeline.num_buckets=1",
            "--config.objectives.order=transducer",
            "--config.loop.checkpoint.every=3",
            "--config.loop.checkpoint.keep_last=1",
            "--config.loop.evaluate_every=6",
        ]

    return Program(
        lambda: train.run(train.main), arguments, ("models/*/variables.npz", "metrics.jsonl")
    )


class Drill:
    """A program, the run of it that nothing disturbed, and a folder for those that are.

    Args:
        program: a training.
        name: of it, in the table.
        root: takes the working directories.
    """

    def __init__(self, program: Program, name: str, root: pathlib.Path):
        self.program, self.name, self.root = program, name, root / name
        self.root.mkdir()
        self.events, self.seconds = self._count_events()
        self._reference = program.digests(self.root / "whole")

    def start(self, workdir: pathlib.Path, prepare: Callable[[], None] = lambda: None) -> Run:
        """Begins a run."""
        return Run(self.program, workdir, prepare=prepare)

    def wrong(self, workdir: pathlib.Path) -> str:
        """Goes on to the end; says what is not as in the undisturbed run, if anything."""
        return self.differs(workdir, self.start(workdir).end())

    def differs(self, workdir: pathlib.Path, ended: Ended) -> str:
        """Like ``wrong``, of a run that has ended."""
        if ended.code:
            return f"exit code {ended.code}\n{ended.output[-2000:]}"
        found = self.program.digests(workdir)
        return "" if found == self._reference else f"{found}\ninstead of\n{self._reference}"

    def _count_events(self) -> tuple[int, float]:
        """Operations on files, and seconds, of the undisturbed run."""
        workdir, counter = self.root / "whole", self.root / "count"

        def prepare() -> None:
            counted, prefix = [0], str(workdir)
            descriptor = os.open(counter, os.O_CREAT | os.O_WRONLY)

            def hook(event: str, arguments: tuple) -> None:
                if event in _FILE_EVENTS and str(arguments[0]).startswith(prefix):
                    counted[0] += 1
                    os.pwrite(descriptor, f"{counted[0]:12d}".encode(), 0)

            sys.addaudithook(hook)

        self.start(self.root / "warm").end()  # fills the cache of compiled programs
        ended = self.start(workdir, prepare).end()
        if ended.code:
            raise RuntimeError(f"the undisturbed run failed:\n{ended.output}")
        return int(counter.read_text()), ended.seconds


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


def kills(drill: Drill, cases: int, seed: int) -> Row:
    """Kills ``cases`` times, each run as often as it is still on its way when its turn comes."""
    rng, failures = random.Random(seed), dict[int, str]()
    done = number = 0
    while done < cases:
        workdir, last, killed = drill.root / f"kills_{number}", done, True
        number += 1
        while killed and done < cases:
            if rng.random() < 0.5:
                prepare = _kill_at_event(workdir, rng.randrange(1, drill.events))
                ended = drill.start(workdir, prepare).end()
            else:
                ended = drill.start(workdir).end(kill_after=rng.uniform(0, 1.1 * drill.seconds))
            killed = ended.code == -signal.SIGKILL
            done += killed
        if wrong := drill.wrong(workdir):
            failures[last] = wrong
    return Row(f"kill -9 of {drill.name}", done, number, failures)


def full_disks(drill: Drill, cases: int, seed: int) -> Row:
    """Files may not grow past a random size, as on a full disk; then they may."""
    rng, failures = random.Random(seed), dict[int, str]()
    for case in range(cases):
        workdir, limit = drill.root / f"full_{case}", int(2 ** rng.uniform(8, 17))

        def prepare(limit: int = limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        ended = drill.start(workdir, prepare).end()
        if "Traceback" in ended.output or ended.code not in (0, 1):
            failures[case] = f"files up to {limit} bytes: {ended.code}\n{ended.output[-2000:]}"
        elif wrong := drill.wrong(workdir):
            failures[case] = f"after files up to {limit} bytes: {wrong}"
    return Row(f"disk full under {drill.name}, then room again", cases, cases, failures)


def rivals(drill: Drill, cases: int, seed: int) -> Row:
    """A second process on a working directory in use is refused, and the first is not disturbed."""
    rng, failures = random.Random(seed), dict[int, str]()
    for case in range(cases):
        workdir = drill.root / f"rivals_{case}"
        first = drill.start(workdir)
        while not (workdir / ".lock").exists() or not (workdir / ".lock").read_text():
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2 * drill.seconds))
        second, ended = drill.start(workdir).end(), first.end()
        refused = f"{workdir} is in use by process {first.process}" in second.output
        if second.code != 1 or not refused:
            failures[case] = f"{second.code} {second.output[-1500:]}"
        elif wrong := drill.differs(workdir, ended):
            failures[case] = wrong
    return Row("two processes on one working directory", cases, cases, failures)


def read_only(drill: Drill) -> Row:
    """A working directory in which nothing can be made is refused by its name."""
    places = [pathlib.Path("/sys/run"), pathlib.Path("/dev/null/run")]
    failures = {}
    for case, workdir in enumerate(places):
        ended = drill.start(workdir).end()
        named = str(workdir.parent) in ended.output and "Traceback" not in ended.output
        if ended.code != 1 or not named:
            failures[case] = f"{workdir}: {ended.code}\n{ended.output[-2000:]}"
    return Row("working directory that cannot be written", len(places), len(places), failures)


def _trainer(cases: int, seed: int, root: pathlib.Path) -> list[Row]:
    trainer = Drill(peers.TRAINER, "the trainer", root)
    return [kills(trainer, cases, seed), full_disks(trainer, max(1, cases // 5), seed)]


def _recognizer(cases: int, seed: int, root: pathlib.Path) -> list[Row]:
    # JAX takes ten times as long to trace its programs, which every run does anew.
    whole, few = Drill(recognizer(root), "a recognizer's training", root), max(1, cases // 50)
    return [
        kills(whole, max(1, cases // 20), seed),
        full_disks(whole, few, seed),
        rivals(whole, few, seed),
        read_only(whole),
    ]


def _peers(cases: int, seed: int, root: pathlib.Path) -> list[Row]:
    return peers.run(max(1, cases // 10), seed, root)


def _stalls(cases: int, seed: int, root: pathlib.Path) -> list[Row]:
    return peers.run_stalls(max(1, cases // 50), seed, root)


PARTS = {"trainer": _trainer, "recognizer": _recognizer, "peers": _peers, "stalls": _stalls}


def run(cases: int, seed: int, parts: Sequence[str] = tuple(PARTS)) -> list[Row]:
    """Every kind of disturbance.

    Args:
        cases: kills of the trainer; of the others a tenth, a twentieth or a fiftieth.
        seed: of the moments.
        parts: of ``PARTS``.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(root / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        with environment(**cache):
            return [row for part in parts for row in PARTS[part](cases, seed, root)]


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| disturbance | cases | runs | failures |", "|---|--:|--:|--:|"]
    shown = [row for row in rows if row.cases]
    lines += [f"| {r.name} | {r.cases} | {r.runs} | {len(r.failures)} |" for r in shown]
    return "\n".join(lines)


def main() -> int:
    """Prints the table, then what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100, help="kills of the trainer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="these alone")
    options = parser.parse_args()
    rows = run(options.cases, options.seed, options.part or tuple(PARTS))
    print(table(rows))
    for row in rows:
        for case, message in row.failures.items():
            print(f"\n{row.name}, case {case}:\n{message}")
    return int(any(row.failures for row in rows))


if __name__ == "__main__":
    sys.exit(main())
