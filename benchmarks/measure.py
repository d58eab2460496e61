"""Side-by-side measurement: one process an entry, all alive, steps taken in turn.

Every entry is a worker process that has its inputs loaded and waits. The parent lets each run one
step after the other, round after round, so that whatever else the machine does falls on all of
them alike; then each runs one more step for its peak memory. Parent and workers are pinned to the
same cores. This file needs the standard library alone: peers' environments import it as well.

    entries = [Entry("ours", (sys.executable, "-m", "benchmarks.loss", "--worker=..."), ours), ...]
    rows = measure(entries, rounds=9)
    print(table(rows, reference="torchaudio"))

A worker calls ``serve(step)`` once it is ready, or ``skip(reason)`` when it cannot run.
"""

import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


@dataclass(frozen=True)
class Entry:
    """One contestant.

    Attributes:
      name: as printed.
      command: its worker's command line.
      environment: variables beside the parent's.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def worker(
    name: str, module: str, *arguments: str, python: str = sys.executable, **environment: str
) -> Entry:
    """An entry that runs a module of this repository on the CPU, with one thread."""
    root = str(Path(__file__).parents[1])
    common = {**ONE_THREAD, "JAX_PLATFORMS": "cpu", "PYTHONPATH": root}
    return Entry(name, (python, "-m", module, *arguments), {**common, **environment})


@dataclass(frozen=True)
class Row:
    """What was measured of an entry, or why it was not.

    Attributes:
      name: the entry's.
      wall_s: wall-clock time of each round's step.
      cpu_s: processor time of each round's step, all threads; on one pinned core, the wall-clock
        time of a machine that is otherwise idle.
      peak_mb: most resident memory during a step beyond what was resident before, 10^6 bytes.
      notes: whatever the worker says of itself (versions, compile time, ...).
      skipped: why there are no figures; empty when there are.
    """

    name: str
    wall_s: tuple[float, ...] = ()
    cpu_s: tuple[float, ...] = ()
    peak_mb: float = float("nan")
    notes: Mapping[str, object] = field(default_factory=dict)
    skipped: str = ""

    def times(self, clock: str) -> tuple[float, ...]:
        """The rounds by ``"wall"`` or ``"cpu"``."""
        return {"wall": self.wall_s, "cpu": self.cpu_s}[clock]


def pin(cores: Iterable[int]) -> None:
    """Confines this process and those it starts to ``cores``."""
    os.sched_setaffinity(0, cores)


def measure(entries: Sequence[Entry], rounds: int = 9, warmups: int = 2) -> list[Row]:
    """Starts all workers, then ``warmups`` and ``rounds`` interleaved steps, then peak memory."""
    workers = [_Worker(entry) for entry in entries]
    running = [worker for worker in workers if not worker.skipped]
    try:
        for _ in range(warmups):
            for worker in running:
                worker.ask("step")
        for _ in range(rounds):
            for worker in running:
                worker.take_step()
    finally:
        for worker in workers:
            worker.stop()
    for worker in running:
        worker.peak_mb = _peak(worker.entry)
    return [worker.row() for worker in workers]


def _peak(entry: Entry) -> float:
    """In a process of its own, whose allocator gives every larger block back at once."""
    gives_back = {"MALLOC_MMAP_THRESHOLD_": "65536"}
    worker = _Worker(Entry(entry.name, entry.command, {**entry.environment, **gives_back}))
    try:
        worker.ask("step")
        return worker.ask("memory")["peak_mb"]
    finally:
        worker.stop()


class _Worker:
    """The parent's end of a worker process."""

    def __init__(self, entry: Entry):
        self.entry = entry
        self._wall: list[float] = []
        self._cpu: list[float] = []
        self.peak_mb = float("nan")
        self._process = subprocess.Popen(
            entry.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **entry.environment},
        )
        self.notes = self._answer()
        self.skipped = str(self.notes.pop("skipped", ""))

    def ask(self, request: str) -> dict:
        assert self._process.stdin is not None
        print(request, file=self._process.stdin, flush=True)
        answer = self._answer()
        if "skipped" in answer:
            raise RuntimeError(f"{self.entry.name} ended at '{request}': {answer['skipped']}")
        return answer

    def take_step(self) -> None:
        answer = self.ask("step")
        self._wall.append(answer["wall_s"])
        self._cpu.append(answer["cpu_s"])

    def row(self) -> Row:
        return Row(
            self.entry.name,
            tuple(self._wall),
            tuple(self._cpu),
            self.peak_mb,
            self.notes,
            self.skipped,
        )

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _answer(self) -> dict:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries print to stdout too
                return json.loads(line)
        return {"skipped": f"its process ended with code {self._process.wait()}"}


def serve(step: Callable[[], object], notes: Mapping[str, object] | None = None) -> None:
    """A worker's life: says it is ready, then runs ``step`` whenever asked, until its end.

    Args:
      step: does the work to its end (no asynchronous rest). It may return a number of seconds, wall
        and CPU, to count instead of the whole call's (when it must renew inputs first).
      notes: what to keep beside the figures.
    """
    _say({"ready": True, **(notes or {})})
    for line in sys.stdin:
        match line.strip():
            case "step":
                _say(_timed(step))
            case "memory":
                _say({"peak_mb": _peak_mb(step)})
            case request:
                raise ValueError(f"unknown request {request!r}")


def skip(reason: str) -> None:
    """A worker's answer when it cannot take part."""
    _say({"skipped": reason})


@dataclass(frozen=True)
class Timed:
    """Times of the part of a step that counts."""

    wall_s: float
    cpu_s: float


def timed(work: Callable[[], object]) -> Timed:
    """Times of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Timed(time.perf_counter() - wall, time.process_time() - cpu)


def _timed(step: Callable[[], object]) -> dict:
    results: list[object] = []
    whole = timed(lambda: results.append(step()))
    inner = results[0]
    return asdict(inner if isinstance(inner, Timed) else whole)


def _peak_mb(step: Callable[[], object]) -> float:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to the present
    step()
    return (_status_bytes("VmHWM") - before) / 1e6


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}: peak memory needs Linux")


def _say(answer: Mapping[str, object]) -> None:
    print(json.dumps(answer), flush=True)


def table(rows: Sequence[Row], reference: str, clock: str = "wall") -> str:
    """Markdown: median and spread of the rounds, peak memory, and both against ``reference``.

    Args:
      rows: of one case.
      reference: the row that ratios are taken to: *speed* is its time over the row's (larger is
        better), *memory* the row's peak over its own (smaller is better).
      clock: ``"wall"`` or ``"cpu"``.
    """
    base = next((row for row in rows if row.name == reference and not row.skipped), None)
    lines = [
        f"| | median ms ({clock}) | quartiles | peak MB | speed | memory |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        if row.skipped:
            lines.append(f"| {row.name} | skipped: {row.skipped} | | | | |")
            continue
        low, median, high = (1e3 * q for q in statistics.quantiles(row.times(clock), n=4))
        faster = smaller = "-"
        if base is not None:
            faster = f"{1e3 * statistics.median(base.times(clock)) / median:.2f}"
            smaller = f"{row.peak_mb / base.peak_mb:.3f}" if base.peak_mb > 0 else "-"
        lines.append(
            f"| {row.name} | {median:.1f} | {low:.1f}-{high:.1f} | {row.peak_mb:.1f}"
            f" | {faster} | {smaller} |"
        )
    return "\n".join(lines)


def machine() -> dict[str, object]:
    """Where the figures were taken."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "pinned_to": sorted(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def save(path: str | Path, cases: Mapping[str, Sequence[Row]], command: Sequence[str]) -> None:
    """All figures as JSON: ``{"machine", "command", "cases": {case: [row, ...]}}``."""
    content = {
        "machine": machine(),
        "command": " ".join(command),
        "cases": {case: [asdict(row) for row in rows] for case, rows in cases.items()},
    }
    Path(path).write_text(json.dumps(content, indent=1) + "\n")
