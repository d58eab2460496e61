"""Bytes of a program's collectives, and the time of a training step on many chips."""

import dataclasses
import json
import math
import re
from pathlib import Path

_COLLECTIVE = re.compile(
    r"= (\([^)]*\)|\S+) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"(?:-start)?\("
)
_ARRAY = re.compile(r"(f64|s64|u64|f32|s32|u32|bf16|f16|s16|u16|s8|u8|pred)\[([\d,]*)\]")
_BYTES = {"64": 8, "32": 4, "16": 2, "8": 1}


def collective_bytes(compiled_text: str) -> dict[str, int]:
    """Sums the bytes of the results of a program's collectives, by kind.

    Args:
      compiled_text: HLO text of one device's program.
    """
    found: dict[str, int] = {}
    for shapes, kind in _COLLECTIVE.findall(compiled_text):
        size = 0
        for dtype, dimensions in _ARRAY.findall(shapes):
            width = _BYTES.get(dtype.lstrip("bfsu"), 1)
            size += width * math.prod(int(d) for d in dimensions.split(",") if d)
        found[kind] = found.get(kind, 0) + size
    return found


@dataclasses.dataclass(frozen=True)
class Machine:
    """Chips and the wires between them.

    Attributes:
      node: chips of a node.
      inside: bytes a second of a chip within a node.
      across: bytes a second of a chip across nodes.
      latency_s: time of one hop.
    """

    node: int
    inside: float
    across: float
    latency_s: float

    def all_reduce_s(self, size: float, chips: int) -> float:
        """Returns the time to sum a vector: a ring within nodes, then one across them.

        Args:
          size: bytes of the vector.
          chips: number of chips.
        """
        within = min(chips, self.node)
        nodes = math.ceil(chips / self.node)
        # Each chip of a node exchanges its share of the vector with its counterparts elsewhere.
        return self._ring(size, within, self.inside) + self._ring(size / within, nodes, self.across)

    def _ring(self, size: float, members: int, bandwidth: float) -> float:
        hops = 2 * (members - 1)
        return hops / members * size / bandwidth + hops * self.latency_s


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a step computes.

    Attributes:
      batch_s: audio of a batch over all chips, in seconds.
      row_s: audio of a row, in seconds.
      audio_s_per_s: audio that a chip trains on in a second, at its best batch.
      floor_s: time of a step that more chips do not shorten.
      gradient_bytes: bytes of the vector that chips sum.
    """

    batch_s: float
    row_s: float
    audio_s_per_s: float
    floor_s: float
    gradient_bytes: float

    def step_s(self, chips: int, machine: Machine) -> float:
        """Returns the time of a step.

        Args:
          chips: number of chips, which share the batch.
          machine: chips and wires.
        """
        rows = math.ceil(self.batch_s / self.row_s / chips)
        compute = max(self.floor_s, rows * self.row_s / self.audio_s_per_s)
        return compute + machine.all_reduce_s(self.gradient_bytes, chips)

    def efficiency(self, chips: int, machine: Machine) -> float:
        """Returns the speed on ``chips`` chips over that many times the speed of one.

        Args:
          chips: number of chips.
          machine: chips and wires.
        """
        return self.step_s(1, machine) / (chips * self.step_s(chips, machine))


def audio_s_per_s(path: Path, model: str, precision: str) -> float:
    """Reads a chip's training speed from rows of ``benchmarks.accelerator``.

    Args:
      path: ``rows.jsonl``.
      model: name of the model in the benchmark.
      precision: policy of the training step.

    Raises:
      ValueError: if the file has no such row.
    """
    case = f"step {model} {precision}"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row["case"] == case and "audio_s_per_s" in row:
            return float(row["audio_s_per_s"])
    raise ValueError(f"--measured={path} has no figures of {case!r}")
