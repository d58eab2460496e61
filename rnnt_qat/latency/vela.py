"""Arm's compiler for Ethos-U and its report on a graph: placement, cycles, memory, weight bytes.

Every latency in this project comes from Vela's own performance model
(the package ethos-u-vela), applied to the exported graph with its real weights. The
weights matter: Vela compresses them without loss, and with small memories, reading them takes most
of the time.
"""

import csv
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ethosu  # noqa: F401 - runs as a process of its own; where it is missing this says so early

from rnnt_qat.infra.errors import UserError
from rnnt_qat.latency.placement import Placement, read_placement
from rnnt_qat.latency.targets import NpuTarget


@dataclass(frozen=True)
class VelaReport:
    """Vela's report on one graph and target.

    Attributes:
      network: name of the graph.
      target: the target.
      npu_operators: number of operators on the NPU, after Vela has decomposed fused ones.
      cpu_operators: number of operators left to the CPU.
      inference_ms: time of the NPU's part of one call.
      core_clock_hz: clock of the NPU.
      cycles_npu: cycles of computation.
      cycles_sram: cycles of SRAM access.
      cycles_dram: cycles of DRAM access.
      cycles_on_chip_flash: cycles of on-chip flash access.
      cycles_off_chip_flash: cycles of off-chip flash access.
      cycles_total: cycles of one call, in which the others overlap.
      macs: multiply-accumulates of one call.
      original_weight_bytes: bytes of weights before compression.
      encoded_weight_bytes: bytes of weights, biases and scales as stored.
      sram_kib: SRAM used by one call, in KiB.
      dram_kib: DRAM used, in KiB.
      flash_kib: flash used, on and off chip, in KiB.
      placement: placement of the operators, and traffic between CPU and NPU.
    """

    network: str
    target: NpuTarget
    npu_operators: int
    cpu_operators: int
    inference_ms: float
    core_clock_hz: float
    cycles_npu: float
    cycles_sram: float
    cycles_dram: float
    cycles_on_chip_flash: float
    cycles_off_chip_flash: float
    cycles_total: float
    macs: int
    original_weight_bytes: int
    encoded_weight_bytes: int
    sram_kib: float
    dram_kib: float
    flash_kib: float
    placement: Placement

    @property
    def npu_share(self) -> float:
        """Fraction of the operators on the NPU."""
        return self.npu_operators / (self.npu_operators + self.cpu_operators)


class VelaError(UserError, RuntimeError):
    """Vela rejected a graph or failed; includes its message."""


def compile_graph(
    model: bytes,
    name: str,
    target: NpuTarget,
    on_cpu: Sequence[str] = (),
    keep: Path | None = None,
) -> VelaReport:
    """Compiles a graph and reads the report.

    Args:
      model: a `.tflite` file's bytes.
      name: name of the graph.
      target: the target.
      on_cpu: operator types (``LOGISTIC``, ...) to keep off the NPU.
      keep: file for the compiled graph; None keeps none.

    Raises:
      VelaError: Vela failed; includes its message.
    """
    with tempfile.TemporaryDirectory(prefix="vela_") as folder:
        source = Path(folder) / f"{name}.tflite"
        source.write_bytes(model)
        command = [
            sys.executable,
            "-m",
            "ethosu.vela",
            str(source),
            f"--accelerator-config={target.accelerator_config}",
            f"--system-config={target.system_config}",
            f"--memory-mode={target.memory_mode}",
            "--config=Arm/vela.ini",
            f"--output-dir={folder}",
        ]
        if on_cpu:
            command.append(f"--ignore-ops={','.join(on_cpu)}")
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        summaries = list(Path(folder).glob(f"{name}_summary_*.csv"))
        if run.returncode or not summaries:
            said = [line for line in (run.stdout + run.stderr).splitlines() if line.strip()]
            ended = f"exit status {run.returncode}"
            if run.returncode < 0:
                ended = f"ended by {signal.Signals(-run.returncode).name}: a fault of the compiler"
            raise VelaError(
                f"Vela on {name!r} for {target.name} failed ({ended}): "
                + (said[-1].replace(f"{folder}/", "") if said else "it said nothing")
            )
        compiled = (Path(folder) / f"{name}_vela.tflite").read_bytes()
        if keep is not None:
            keep.write_bytes(compiled)
        return _report(name, target, run.stdout, summaries[0], compiled)


def _report(name: str, target: NpuTarget, said: str, summary: Path, compiled: bytes) -> VelaReport:
    with summary.open(newline="") as file:
        row = list(csv.DictReader(file))[-1]

    def number(column: str) -> float:
        if column not in row:
            raise VelaError(f"Vela's summary of {name!r} has no column {column!r}: {list(row)}")
        return float(row[column])

    return VelaReport(
        network=name,
        target=target,
        npu_operators=_count(said, "NPU operators"),
        cpu_operators=_count(said, "CPU operators"),
        inference_ms=1e3 * number("inference_time"),
        core_clock_hz=number("core_clock"),
        cycles_npu=number("cycles_npu"),
        cycles_sram=number("cycles_sram_access"),
        cycles_dram=number("cycles_dram_access"),
        cycles_on_chip_flash=number("cycles_on_chip_flash_access"),
        cycles_off_chip_flash=number("cycles_off_chip_flash_access"),
        cycles_total=number("cycles_total"),
        macs=int(number("nn_macs")),
        original_weight_bytes=int(number("total_original_weights")),
        encoded_weight_bytes=int(number("total_npu_encoded_weights")),
        sram_kib=number("sram_memory_used"),
        dram_kib=number("dram_memory_used"),
        flash_kib=number("on_chip_flash_memory_used") + number("off_chip_flash_memory_used"),
        placement=read_placement(compiled),
    )


def _count(said: str, label: str) -> int:
    for line in said.splitlines():
        if line.startswith(label):
            return int(line.split("=")[1].split()[0])
    raise VelaError(f"Vela printed no line {label!r}:\n{said[-2000:]}")
