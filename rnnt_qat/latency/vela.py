"""Arm's compiler for Ethos-U, and what it says of a graph: placement, cycles, memory, weight bytes.

Every latency figure in this project comes from Vela's own performance model
(https://pypi.org/project/ethos-u-vela/), run on the exported graph with its real weights: Vela
compresses them without loss, and on small memories reading them is the time.
"""

import csv
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnt_qat.infra.errors import UserError
from rnnt_qat.latency.placement import Placement, read_placement


@dataclass(frozen=True)
class NpuTarget:
    """One Ethos-U with its memories, as named in Vela's own configuration file.

    Attributes:
      name: short name for tables.
      accelerator_config: product and MACs a cycle.
      system_config: clocks and memories around it.
      memory_mode: what lies where.
    """

    name: str
    accelerator_config: str
    system_config: str
    memory_mode: str


U55_128 = NpuTarget("u55-128", "ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram")
U55_256 = NpuTarget("u55-256", "ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram")
U65_512 = NpuTarget("u65-512", "ethos-u65-512", "Ethos_U65_High_End", "Dedicated_Sram")
U85_512 = NpuTarget("u85-512", "ethos-u85-512", "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB")
TARGETS = (U55_128, U55_256, U65_512, U85_512)


@dataclass(frozen=True)
class VelaReport:
    """What Vela says of one graph on one target.

    Attributes:
      network: name of the graph.
      target: where.
      npu_operators: operators on the NPU, after Vela has taken fused ones apart.
      cpu_operators: operators left to the CPU.
      inference_ms: time of one call of the NPU's part.
      core_clock_hz: of the NPU.
      cycles_npu: computing.
      cycles_sram: reading and writing SRAM.
      cycles_dram: the same for DRAM.
      cycles_on_chip_flash: the same for on-chip flash.
      cycles_off_chip_flash: the same for off-chip flash.
      cycles_total: of one call; the kinds above overlap in it.
      macs: multiply-accumulates of one call.
      original_weight_bytes: weights before compression.
      encoded_weight_bytes: weights, biases and scales as stored.
      sram_kib: used by one call.
      dram_kib: used.
      flash_kib: used, on and off chip.
      placement: what runs where and what crosses.
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
        """Share of the operators on the NPU, in [0, 1]."""
        return self.npu_operators / (self.npu_operators + self.cpu_operators)


class VelaError(UserError, RuntimeError):
    """Vela refused or failed; the message is Vela's."""


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
      name: what to call it.
      target: where to run it.
      on_cpu: operator types (``LOGISTIC``, ...) that the NPU is not to be given.
      keep: file for the compiled graph; None leaves none.

    Raises:
      VelaError: with Vela's own message.
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
