"""Energy that a machine says it used: RAPL of the processor's packages, or the GPU's own meter.

Linux shows RAPL's counters under ``/sys/class/powercap`` where the kernel and the rights allow it;
``nvidia-smi`` gives the power of GPUs, those of ``CUDA_VISIBLE_DEVICES`` or all, which is summed
over time. Elsewhere the energy is NaN.
"""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_SMI = ("nvidia-smi", "--query-gpu=index,power.draw", "--format=csv,noheader,nounits", "-lms", "50")


def power_command(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the command that samples the power of the GPUs that a process sees.

    Args:
      environment: variables of the process.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    return (*_SMI, "-i", visible) if visible else _SMI


class EnergyMeter:
    """Measures between ``start`` and ``stop``.

    Args:
      backend: ``gpu`` reads the GPUs, ``cpu`` the packages; others have no meter here.
      powercap: folder of RAPL's counters.
    """

    def __init__(self, backend: str, powercap: Path = POWERCAP):
        self._backend, self._powercap = backend, powercap
        self._process: subprocess.Popen | None = None
        self._before: dict[Path, int] = {}
        self._began = 0.0

    def start(self) -> None:
        """Begins the measurement."""
        self._began = time.perf_counter()
        if self._backend == "cpu":
            self._before = self._counters()
        elif self._backend == "gpu" and shutil.which(_SMI[0]):
            self._process = subprocess.Popen(
                power_command(os.environ), stdout=subprocess.PIPE, text=True
            )

    def stop(self) -> float:
        """Ends the measurement and returns joules; NaN if the machine has no meter."""
        elapsed = time.perf_counter() - self._began
        if self._process is not None:
            self._process.terminate()
            out, _ = self._process.communicate()
            return elapsed * total_power(out)
        after = self._counters() if self._before else {}
        used = [self._used(path, after[path]) for path in self._before if path in after]
        return sum(used) / 1e6 if used else float("nan")

    def _used(self, path: Path, after: int) -> int:
        """Returns the microjoules of a package since the start; its counter may have begun anew."""
        used = after - self._before[path]
        if used < 0:
            used += int((path.parent / "max_energy_range_uj").read_text())
        return used

    def _counters(self) -> dict[Path, int]:
        found = {}
        for path in sorted(self._powercap.glob("intel-rapl:?/energy_uj")):
            try:
                found[path] = int(path.read_text())
            except OSError:  # only root may read it, on most systems
                continue
        return found


def total_power(lines: str) -> float:
    """Returns the power of all GPUs in watts, each one's the mean of its samples.

    Args:
      lines: what ``nvidia-smi`` printed: index and power of each GPU and sample.

    Returns:
      The sum; NaN if a GPU does not tell its power, or there is none.
    """
    samples: dict[str, list[float]] = {}
    for line in lines.splitlines():
        index, comma, power = line.partition(",")
        if not comma:  # the end of the output is cut
            continue
        own = samples.setdefault(index.strip(), [])
        if power.strip().replace(".", "", 1).isdigit():
            own.append(float(power))
    if not samples or not all(samples.values()):
        return float("nan")
    return sum(map(statistics.mean, samples.values()))
