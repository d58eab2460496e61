"""Cases of ``benchmarks.accelerator``: which there are, and each as a process with a time limit."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

INTEGERS = "integers.npz"


@dataclasses.dataclass(frozen=True)
class Case:
    """One process of the benchmark.

    Attributes:
      name: section and case; the arguments of ``accelerator_cases``.
      limit_s: time after which it is stopped, in seconds.
      on_cpu: whether it runs without the accelerator.
    """

    name: tuple[str, ...]
    limit_s: float = 90.0
    on_cpu: bool = False


def cases(tiny: bool) -> Iterator[Case]:
    """Yields the cases by importance: the last ones are left out if time is short."""
    yield Case(("integers", "write"), 240, on_cpu=True)
    yield Case(("integers", "compare"), 240)
    yield Case(("matmul",))
    for form in ("logits", "joint"):
        yield Case(("loss", form))
    yield Case(("lstm", "ours"))
    yield Case(("lstm", "peers"))
    models = ("readme",) if tiny else ("readme", "45M", "61M")
    policies = ("float32", "bfloat16", "w8a8", "ethos_u_8x8_16", "generic_nna")
    for policy in ("w8a8",) if tiny else policies:
        for model in models:
            yield Case(("step", model, policy), 300 if tiny else 120)
    yield Case(("decode", "readme" if tiny else "45M"), 120)
    if tiny:
        return
    for policy in ("generic_nna_crude", "ethos_u_16x8", "tosa_16x8"):
        yield Case(("step", "45M", policy), 120)
    for peer in ("torchaudio", "fast_rnnt", "k2"):
        yield Case(("peer", peer), 60)


def run(
    case: Case,
    folder: Path,
    tiny: bool,
    seconds: float,
    variables: Mapping[str, str] | None = None,
) -> list[dict]:
    """Runs a case and returns its rows.

    Args:
      case: what to run.
      folder: output folder; the case's own output goes to ``logs`` in it.
      tiny: whether sizes are small.
      seconds: time that is left.
      variables: environment of the process beside this one's.
    """
    name = " ".join(case.name)
    limit = min(case.limit_s, seconds)
    if limit < 5:
        return [{"case": name, "skipped": "no time left"}]
    command = [sys.executable, "-m", "benchmarks.accelerator_cases", *case.name]
    environment = {
        **os.environ,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **(variables or {}),
    }
    environment["ACCELERATOR_INTEGERS"] = str(folder / INTEGERS)
    if tiny:
        environment["ACCELERATOR_TINY"] = "1"
    if case.on_cpu:
        environment["JAX_PLATFORMS"] = "cpu"
    log = folder / "logs" / f"{'_'.join(case.name)}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with open(log, "w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        try:
            out, _ = process.communicate(timeout=limit)
            problem = f"failed, exit code {process.returncode}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            problem = f"stopped after {limit:.0f} s"
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    rows = [{"case": name, **row} for row in rows]
    if problem:
        rows.append({"case": name, "problem": problem})
        print(f"{name}: {log} has its messages", flush=True)
    print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    for row in rows:
        print(f"  {line(row)}", flush=True)
    return rows


def line(row: dict) -> str:
    """Returns a row's fields but the case as text."""
    return ", ".join(f"{key} {_text(value)}" for key, value in row.items() if key != "case")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows: Sequence[dict]) -> str:
    """Returns a markdown table of each section, with the columns that its rows have."""
    sections: dict[str, list[dict]] = {}
    for row in rows:
        sections.setdefault(row["case"].split()[0], []).append(row)
    blocks = []
    for name, members in sections.items():
        columns = list(dict.fromkeys(key for row in members for key in row))
        lines = [f"## {name}", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
        lines += [
            "| " + " | ".join(_text(row.get(column, "")) for column in columns) + " |"
            for row in members
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def failed(rows: Sequence[dict]) -> bool:
    """Returns whether an integer differed or a case failed; cases left out are no failure."""
    return any("problem" in row or row.get("differ") for row in rows)
