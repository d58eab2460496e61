"""Two processes train together, and one of them dies or stalls.

What is left must end by itself with a message that says what to do, or wait where the other comes
back; started again, both end with the results of the run that nothing disturbed.
"""

import pathlib
import random
import signal
import socket
import time

import jax
from absl import flags

from benchmarks.drills.runs import Ended, Program, Row, Run
from rnnt_qat.infra import program
from tests.training import toy

NOTICED_S = 150.0
"""By then a process has noticed that the other does not answer (JAX: 100 s), and has ended."""


def _train() -> None:
    def main() -> None:
        toy.main()
        if jax.distributed.is_initialized():
            jax.distributed.shutdown()  # as at the exit of a process that was not forked

    # The command line is the toy's: absl has no flag of it.
    program.run(main, parse=lambda argv: flags.FLAGS(list(argv)[:1]))


TRAINER = Program(_train, lambda workdir: [str(workdir)], ("metrics.jsonl",))
"""The trainer on a toy model: stages, checkpoints and records, without a recognizer."""


def _start(workdir: pathlib.Path, seconds: float) -> list[Run]:
    """Both processes; each batch takes so long to make."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = ("--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--seconds", str(seconds))
    return [Run(TRAINER, workdir, (*options, "--process", str(n))) for n in range(2)]


def _whole(workdir: pathlib.Path) -> str:
    """Runs both to their end; what went wrong, empty where nothing did."""
    ended = [run.end() for run in _start(workdir, 0.0)]
    if any(end.code for end in ended):
        return "\n".join(f"exit code {end.code}\n{end.output[-1500:]}" for end in ended)
    return ""


def _wait_for_checkpoint(workdir: pathlib.Path, runs: list[Run]) -> None:
    limit = time.monotonic() + NOTICED_S
    while not any(p.name.isdigit() for p in workdir.glob("checkpoints/0_float/*")):
        if time.monotonic() > limit:
            for run in runs:
                run.signal(signal.SIGKILL)
            raise RuntimeError("the undisturbed beginning of a run of two processes hangs")
        time.sleep(0.02)


def _told(end: Ended) -> bool:
    """Whether a process that lost its peer ended on its own and said so."""
    says = "another process of the job is gone" in end.output or "distributed service" in end.output
    return end.code not in (0, -signal.SIGKILL) and says


class Peers:
    """Runs of two processes, and the one of them that nothing disturbed.

    Args:
        root: takes the working directories.
        seed: of who is disturbed, and when.
    """

    def __init__(self, root: pathlib.Path, seed: int):
        self._root, self._rng = root, random.Random(seed)
        if wrong := _whole(root / "peers"):
            raise RuntimeError(f"the undisturbed run of two processes failed:\n{wrong}")
        self._reference = TRAINER.digests(root / "peers")

    def lost(self, name: str, number: signal.Signals, cases: int) -> Row:
        """One of the two gets a signal after which it does nothing any more."""
        failures = {}
        for case in range(cases):
            workdir, hit = self._root / f"{number.name}_{case}", self._rng.randrange(2)
            runs = _start(workdir, 0.05)
            _wait_for_checkpoint(workdir, runs)
            time.sleep(self._rng.uniform(0, 1.5))
            runs[hit].signal(number)
            left = runs[1 - hit].end(NOTICED_S)
            runs[hit].signal(signal.SIGKILL)
            runs[hit].end()
            if not _told(left):
                failures[case] = f"process {1 - hit}: {left.code}\n{left.output[-2000:]}"
            elif wrong := _whole(workdir) or self._differs(workdir):
                failures[case] = wrong
        return Row(name, cases, cases, failures)

    def delayed(self, cases: int) -> Row:
        """One of the two stands still for some seconds; nobody is started again."""
        failures = {}
        for case in range(cases):
            workdir, hit = self._root / f"delayed_{case}", self._rng.randrange(2)
            runs = _start(workdir, 0.02)
            _wait_for_checkpoint(workdir, runs)
            runs[hit].signal(signal.SIGSTOP)
            time.sleep(self._rng.uniform(1, 8))
            runs[hit].signal(signal.SIGCONT)
            ended = [run.end() for run in runs]
            if any(end.code for end in ended):
                failures[case] = "\n".join(f"{end.code}\n{end.output[-1500:]}" for end in ended)
            elif wrong := self._differs(workdir):
                failures[case] = wrong
        return Row("a peer that stalls for some seconds", cases, cases, failures)

    def _differs(self, workdir: pathlib.Path) -> str:
        found = TRAINER.digests(workdir)
        return "" if found == self._reference else f"{found}\ninstead of\n{self._reference}"


def run(cases: int, seed: int, root: pathlib.Path) -> list[Row]:
    """Deaths, and half as many stalls that pass."""
    peers = Peers(root, seed)
    return [peers.lost("a peer that dies", signal.SIGKILL, cases), peers.delayed(cases // 2)]


def run_stalls(cases: int, seed: int, root: pathlib.Path) -> list[Row]:
    """Stalls that do not pass, each of which takes minutes to be noticed."""
    return [Peers(root, seed).lost("a peer that stalls for good", signal.SIGSTOP, cases)]
