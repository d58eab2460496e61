"""The same programs on whatever JAX finds: one table for each machine.

    python -m benchmarks.devices                     # every device, and one of them alone
    python -m benchmarks.devices --counts=1,2        # on a CPU: that many simulated devices

A TPU's devices are measured together only: no variable leaves one of them out.

Matrix products, the loss, the recurrent core, a training step under several policies, and batched
streaming decoding, each in a process (``accelerator_cases``). Times on a CPU are processor time.
The rows of a case replace its former ones of the same machine in ``--rows``, and the table has
those of all machines.

The question is that of snnTorch on IPUs (Sun et al., "Intelligence Processing Units Accelerate
Neuromorphic Learning", 2022): what one description of a model gives on machines that it was not
written for.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags

from benchmarks import measure
from benchmarks.accelerator_plan import Case, failed, run
from benchmarks.devices_table import Machine, merged, table
from rnnt_qat.infra import program
from rnnt_qat.infra.durable_files import write_text

_CASES = (
    ("matmul",),
    ("loss", "joint"),
    ("lstm", "ours"),
    *(("step", "MODEL", policy) for policy in ("float32", "w8a8", "ethos_u_8x8_16")),
    ("decode", "MODEL"),
)
_ROWS = "benchmarks/devices.jsonl"
_SHARED = ("step", "decode")
"""Sections whose work several devices share."""

_FIND = "import jax; d = jax.devices(); print(d[0].platform, len(d), d[0].device_kind, sep='|')"


def cases(model: str, devices: int, tiny: bool = False) -> list[Case]:
    """Returns the cases of one number of devices, of which one device runs all.

    Args:
      model: sizes of the recognizer.
      devices: number of devices.
      tiny: whether a training step is measured under one policy alone.
    """
    names = [tuple(model if word == "MODEL" else word for word in name) for name in _CASES]
    if model == "smoke":  # random, it says a hundred characters a second
        names = [("decode", "readme") if name[0] == "decode" else name for name in names]
    if tiny:
        names = [name for name in names if name[0] != "step" or name[-1] == "w8a8"]
    return [Case(name, 600) for name in names if devices == 1 or name[0] in _SHARED]


def device_counts(platform: str, found: int, asked: Sequence[int] = ()) -> list[int]:
    """Returns the numbers of devices to measure.

    Args:
      platform: name of JAX's backend.
      found: number of devices of this machine.
      asked: numbers asked for; none measures one device, where the others can be left out, and all.

    Raises:
      UsageError: this machine cannot give JAX as many devices.
    """
    if platform not in ("cpu", "gpu"):
        if list(asked or [found]) != [found]:
            raise flags.ValidationError(
                f"--counts: no variable leaves out devices of a {platform}: give {found}"
            )
        return [found]
    counts = list(asked) or sorted({1, found})
    if min(counts) < 1 or (platform != "cpu" and max(counts) > found):
        raise flags.ValidationError(f"--counts: this machine has {found} devices")
    return counts


def environment(platform: str, devices: int, present: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables with which JAX finds a number of devices.

    Args:
      platform: name of JAX's backend.
      devices: number of devices.
      present: variables of this process, of which ``CUDA_VISIBLE_DEVICES`` says which GPUs it has.
    """
    expected = {"ACCELERATOR_DEVICES": str(devices)}
    if platform == "cpu":
        # A device that waits for others holds a thread.
        threads = {"NPROC": str(4 * devices)} if devices > 1 else {}
        cpu = {"JAX_NUM_CPU_DEVICES": str(devices), "ACCELERATOR_HOST": "1", **threads}
        return expected | cpu
    if platform == "gpu":
        visible = present.get("CUDA_VISIBLE_DEVICES", "")
        names = visible.split(",") if visible else list(map(str, range(devices)))
        return expected | {"CUDA_VISIBLE_DEVICES": ",".join(names[:devices])}
    return expected


def found_machine() -> tuple[str, int, Machine]:
    """Returns the platform, the number of devices and the machine's description."""
    done = subprocess.run([sys.executable, "-c", _FIND], capture_output=True, text=True, check=True)
    platform, count, kind = done.stdout.strip().splitlines()[-1].split("|")
    here = measure.machine()
    cores = len(os.sched_getaffinity(0))
    device = str(here["processor"]) if platform == "cpu" else kind
    return (
        platform,
        int(count),
        Machine(device, f"{cores} core{'s' * (cores > 1)}", str(here["commit"])),
    )


def rows_path(given: str, tiny: bool) -> Path:
    """Returns the file of the rows.

    Args:
      given: path that was asked for; may be empty.
      tiny: whether sizes are small.

    Raises:
      UsageError: rows of small sizes would replace measured ones.
    """
    if tiny and not given:
        raise flags.ValidationError(f"--tiny: give --rows=FILE, since {_ROWS} is of the real sizes")
    return Path(given or _ROWS)


def main() -> int:
    """Measures, keeps the rows and prints the table."""
    path = rows_path(flags.FLAGS.rows, flags.FLAGS.tiny)
    platform, count, machine = found_machine()
    counts = device_counts(platform, count, [int(n) for n in flags.FLAGS.counts])
    model = flags.FLAGS.model or ("smoke" if platform == "cpu" else "45M")
    logs, rows = Path(flags.FLAGS.logs), list[dict]()
    everything: list[dict] = []
    for devices in counts:
        for case in cases(model, devices, flags.FLAGS.tiny):
            if flags.FLAGS.only and case.name[0] not in flags.FLAGS.only:
                continue
            variables = environment(platform, devices, os.environ)
            done = run(case, logs / f"{devices}_devices", flags.FLAGS.tiny, case.limit_s, variables)
            clock = "processor" if platform == "cpu" else "wall"
            new = [{"devices": devices, "clock": clock, **row} for row in done]
            rows += new
            # After each case, so that an interruption loses one of them.
            everything = merged(path.read_text() if path.exists() else "", machine, new)
            write_text(path, "".join(json.dumps(row) + "\n" for row in everything))
    print(f"\n{table(everything)}\nwrote {path}")
    return int(failed(rows))


def define_flags() -> None:
    """Defines the flags of the command; importing the module defines none."""
    flags.DEFINE_list("counts", [], "Numbers of devices; by default one, and all.")
    flags.DEFINE_string("model", "", "Recognizer of accelerator_cases; by default by the machine.")
    flags.DEFINE_string("rows", "", f"Rows of all machines; by default {_ROWS}.")
    flags.DEFINE_string("logs", "workdir/devices", "Takes the messages of the cases.")
    sections = list(dict.fromkeys(name[0] for name in _CASES))
    flags.DEFINE_multi_enum("only", [], sections, "Section to run, once for each; all if none.")
    flags.DEFINE_bool("tiny", False, "Small sizes, to try the command; needs --rows.")


if __name__ == "__main__":
    define_flags()
    program.run(main)
