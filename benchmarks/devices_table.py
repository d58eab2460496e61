"""Rows of ``benchmarks.devices``: kept by machine, with their share of what it can do at best."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """Where rows were measured.

    Attributes:
      device: processor or accelerator.
      host: what it stands in.
      commit: of the code.
    """

    device: str
    host: str
    commit: str

    @property
    def key(self) -> str:
        """Name of the machine in the table, whatever the commit."""
        return f"{self.device}, {self.host}"


def merged(stored: str, machine: Machine, rows: Sequence[Mapping]) -> list[dict]:
    """Returns all rows after some cases of one machine were measured again.

    Args:
      stored: JSON lines of former rows.
      machine: where the new ones were measured.
      rows: the new ones.
    """
    measured = {(machine.key, row["devices"], row["case"]) for row in rows}
    kept = [json.loads(line) for line in stored.splitlines()]
    kept = [row for row in kept if (row["machine"], row["devices"], row["case"]) not in measured]
    new = [{"machine": machine.key, "commit": machine.commit, **row} for row in rows]
    return kept + _finite(new)


def _finite(rows: list[dict]) -> list[dict]:
    """Leaves out numbers that the machine did not tell: JSON has no NaN."""
    return [
        {k: v for k, v in row.items() if not (isinstance(v, float) and math.isnan(v))}
        for row in rows
    ]


def roof(rows: Sequence[Mapping], machine: str) -> float:
    """Returns the fastest float32 product measured on a machine, in 10^12 operations a second."""
    found = [
        row["tera_per_s"]
        for row in rows
        if row["machine"] == machine and row.get("type") == "float32" and "tera_per_s" in row
    ]
    return max(found, default=math.nan)


def share(row: Mapping, roof_of_one: float) -> float:
    """Returns the share of the roof that a row's products reach; NaN if it has none.

    Args:
      row: with ``model_tera_per_s`` or, for a product, ``tera_per_s``.
      roof_of_one: what one device does at best.
    """
    done = row.get("model_tera_per_s", row.get("tera_per_s", math.nan))
    # A second of processor time is one of one core, however many devices share it.
    devices = 1 if row.get("clock") == "processor" else row.get("devices", 1)
    return done / (roof_of_one * devices)


_RATES = {"audio_s_per_s": "s of audio a s", "streams_at_real_time": "streams at real time"}


def table(rows: Sequence[Mapping]) -> str:
    """Returns a Markdown table with a row for each measurement of each machine."""
    lines = [
        "| machine | devices | case | ms | share of the roof | throughput | J |",
        "|---|---:|---|---:|---:|---|---:|",
    ]
    for row in rows:
        first = f"| {row['machine']} | {row['devices']} | {_case(row)} |"
        problem = row.get("problem", row.get("skipped"))
        if problem:
            lines.append(f"{first} {problem} | | | |")
            continue
        if "ms" not in row:
            continue
        part = share(row, roof(rows, row["machine"]))
        rates = [f"{row[name]:.4g} {unit}" for name, unit in _RATES.items() if name in row]
        if not rates and "tera_per_s" in row:
            rates = [f"{1e3 * row['tera_per_s']:.4g} GOp/s"]
        if not rates and "model_tera_per_s" in row:
            rates = [f"{1e3 * row['model_tera_per_s']:.4g} GOp/s"]
        joules = f"{row['joules']:.3g}" if "joules" in row else "-"
        lines.append(
            f"{first} {row['ms']:.4g} | {'-' if math.isnan(part) else f'{part:.0%}'} | "
            f"{', '.join(rates)} | {joules} |"
        )
    return "\n".join(lines) + "\n"


def _case(row: Mapping) -> str:
    own = ("type", "size", "form", "sizes", "stack", "batch", "streams")
    detail = ", ".join(f"{name} {row[name]}" for name in own if name in row)
    return f"{row['case']}{': ' if detail else ''}{detail}"
