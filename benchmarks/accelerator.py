"""One command that checks and measures everything on one accelerator, within a time limit.

    python -m benchmarks.accelerator --output=accelerator          # at most 8 minutes on one GPU
    python -m benchmarks.accelerator --tiny --output=accelerator   # the same code, small, on a CPU

First what must be equal: int8 products, and the forward pass of a small recognizer under every
chip, integer by integer with what a CPU computes. Then times, of the median of several rounds,
compilation apart: matrix products, the loss, the recurrence, training steps, streaming decoding.
Each case is a process (``benchmarks/accelerator_cases.py``) with the device to itself; what fails
or does not fit the time is listed as such, and the others still run. The exit code is 1 if an
integer differs or a case fails.

Needed are jax for the device and what ``benchmarks/pack_wheels.sh`` packs. Peers (torch with CUDA,
torchaudio, k2, fast_rnnt) take part where they are installed.
"""

import json
import time
from pathlib import Path

from absl import flags

from benchmarks.accelerator_plan import cases, failed, run, table
from rnnt_qat.infra import program

_OUTPUT = flags.DEFINE_string("output", "accelerator", "folder for rows.jsonl and table.md")
_SECONDS = flags.DEFINE_float("seconds", 460.0, "time limit of everything")
_TINY = flags.DEFINE_bool("tiny", False, "small sizes and few cases, to try the command")
_ONLY = flags.DEFINE_list("only", [], "first words of the cases to run; all if none")


def main() -> int:
    begun, folder = time.monotonic(), Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    with open(folder / "rows.jsonl", "w") as file:
        for case in cases(_TINY.value):
            if _ONLY.value and case.name[0] not in _ONLY.value:
                continue
            found = run(case, folder, _TINY.value, _SECONDS.value - (time.monotonic() - begun))
            rows += found
            file.writelines(json.dumps(row) + "\n" for row in found)
            file.flush()
    (folder / "table.md").write_text(table(rows))
    print(f"\n{table(rows)}\nwrote {folder}/table.md after {time.monotonic() - begun:.0f} s")
    return int(failed(rows))


if __name__ == "__main__":
    program.run(main)
