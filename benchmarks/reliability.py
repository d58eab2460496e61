"""The drill of hostile inputs: none may crash without a clear message, hang, or be taken for good.

python -m benchmarks.reliability --cases=10000 --seed=0
python -m benchmarks.reliability --drill=configs --case=145   # one case again, with its traceback

Sound files, transcripts, configs, model directories, checkpoints, artefacts and prepared corpora
are made and damaged from a seed, each case from its own number alone.
``benchmarks/drills`` holds a module a kind; a new kind is a ``Drill`` there and a place in
``DRILLS`` here. Drills that are not about one input (long streams, kills, integers) are programs of
their own in that folder.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.drills import hostile, hostile_audio, hostile_configs, hostile_folders
from benchmarks.drills import hostile_transcripts as transcripts
from benchmarks.drills.hostile import Drill, Row

DRILLS: tuple[Drill, ...] = (
    hostile_audio.DRILL,
    transcripts.DRILL,
    hostile_configs.DRILL,
    *hostile_folders.DRILLS,
)
SHOWN = 5
"""Failures of a drill whose messages are printed."""


def run(cases: int, seed: int, drills: Sequence[Drill] = DRILLS) -> list[Row]:
    """Runs ``cases`` cases, shared among the drills by their shares, at least one each."""
    total = sum(drill.share for drill in drills)
    rows = []
    for drill in drills:
        row = hostile.run(drill, max(1, round(cases * drill.share / total)), seed)
        print(f"{drill.name}: {row.cases} cases, {len(row.failures)} failures", flush=True)
        rows.append(row)
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    head = ["hostile inputs", "cases", "taken, rightly", "refused, with a message", "failures"]
    lines = [head, ["---", *["---:"] * 4]]
    counts = [(row.cases, row.taken, row.refused, len(row.failures)) for row in rows]
    for row, numbers in zip(rows, counts, strict=True):
        lines.append([row.name, *map(str, numbers)])
    sums = (sum(column) for column in zip(*counts, strict=True))
    lines.append(["all", *map(str, sums)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Prints the table, and the failures with the number that runs each again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000, help="of all drills together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drill", choices=[drill.name for drill in DRILLS], help="this one alone")
    parser.add_argument("--case", type=int, help="this case of --drill, in this process")
    parser.add_argument("--output", type=Path, help="the counts and failures as JSON")
    flags = parser.parse_args()
    if flags.case is not None and not flags.drill:
        parser.error("--case needs --drill")
    drills = [drill for drill in DRILLS if flags.drill in (None, drill.name)]
    if flags.case is not None:
        verdict, message = hostile.judge(drills[0], flags.seed, flags.case)
        print(f"{verdict}\n{message}")
        return int(verdict not in ("taken", "refused"))
    rows = run(flags.cases, flags.seed, drills)
    print(f"\n{table(rows)}")
    for row in rows:
        for case, message in list(row.failures.items())[:SHOWN]:
            print(f"\n--drill={row.name!r} --seed={flags.seed} --case={case}\n{message}")
    if flags.output:
        flags.output.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")
    return int(any(row.failures for row in rows))


if __name__ == "__main__":
    sys.exit(main())
