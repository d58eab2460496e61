"""Costs of the operators that stay on the CPU, in one table with the source of every constant.

Vela models the time of the NPU only. In the CPU-fallback baseline, the operators between the matrix
products stay in floating point on the host: a Cortex-M55 beside a U55, and a similar core beside
the others. Their time is modelled as

    cycles = sum over CPU operators of elements * cycles per element
           + elements NPU -> CPU * dequantize + elements CPU -> NPU * quantize
           + bytes crossing * cache and bus + NPU calls * call

at the clock of the NPU times ``clock_ratio``. The numbers of elements, bytes and calls are read
from the compiled graph. Every constant has a low and a high value; ``sensitivity`` varies them one
at a time.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rnnt_qat.latency.vela import VelaReport

FALLBACK_OPERATORS = ("LOGISTIC", "TANH", "MUL", "ADD")
"""Operators that stay in floating point if only matrix products are quantized."""


@dataclass(frozen=True)
class Estimate:
    """A constant of the model.

    Attributes:
      value: the value used.
      low: lower end of its range.
      high: upper end of its range.
      source: origin of the value.
    """

    value: float
    low: float
    high: float
    source: str

    def __post_init__(self) -> None:
        """Rejects a range that does not contain the value."""
        if not 0 <= self.low <= self.value <= self.high:
            raise ValueError(f"Estimate: {self.low} <= {self.value} <= {self.high} does not hold")


@dataclass(frozen=True)
class CpuCosts:
    """Costs of the host beside the NPU, in cycles of the host.

    Attributes:
      clock_ratio: clock of the host divided by that of the NPU.
      sigmoid: cycles per element.
      tanh: cycles per element.
      multiply: cycles per element.
      add: cycles per element.
      other: cycles per element of any other operator.
      quantize: cycles per element from float to integer.
      dequantize: cycles per element from integer to float.
      crossing: cycles per byte passed between CPU and NPU.
      call: cycles per call of the NPU.
    """

    clock_ratio: Estimate = Estimate(
        1.0,
        0.4,
        1.0,
        "assumption: host and NPU share a clock, as in Arm's Corstone-300 design; high-end systems "
        "clock a Cortex-M host at 400 MHz beside an NPU at 1 GHz. A lower ratio is a slower host.",
    )
    sigmoid: Estimate = Estimate(
        45,
        10,
        100,
        "assumption: scalar 1 / (1 + expf(-x)) at 25-80 cycles for expf and 15 for the divide; no "
        "public figure. CMSIS-NN has no LOGISTIC or TANH, TFLM runs its scalar reference "
        "(tensorflow/tflite-micro issue 1885). Low: four lanes of Helium.",
    )
    tanh: Estimate = Estimate(
        55, 10, 120, "assumption: as sigmoid, with one more subtraction and a range test"
    )
    multiply: Estimate = Estimate(
        3, 0.75, 8, "assumption: two loads, one product, one store, scalar. Low: four Helium lanes."
    )
    add: Estimate = Estimate(3, 0.75, 8, "assumption: as multiply")
    other: Estimate = Estimate(
        1, 0.25, 4, "assumption: copies (SPLIT, CONCATENATION, RESHAPE and the like)"
    )
    quantize: Estimate = Estimate(
        9.1,
        2,
        20,
        "measured by others: quantize_per_tensor of 3 x 224 x 224 floats took 1,365,831 cycles on "
        "the Cortex-M55 of an Alif E8 (pytorch/executorch issue 17651). Low: vectorised by hand.",
    )
    dequantize: Estimate = Estimate(
        4, 1, 9.1, "assumption: half of quantize, which also rounds and saturates"
    )
    crossing: Estimate = Estimate(
        0.5,
        0.125,
        2,
        "assumption, cycles a byte: a 64-bit bus moves 8 bytes a cycle at best (Cortex-M55); a "
        "write-back cache is cleaned before and invalidated after every NPU call, line by line "
        "(ethos-u-core-driver issue 2).",
    )
    call: Estimate = Estimate(
        2000,
        500,
        10000,
        "assumption, cycles an NPU call: interpreter dispatch, ethosu_invoke (checks, base "
        "addresses, run), interrupt, semaphore; no public figure.",
    )

    def cycles_per_element(self, operator: str) -> float:
        """Returns the cycles per element of a CPU operator, by its LiteRT name."""
        known = {
            "LOGISTIC": self.sigmoid,
            "TANH": self.tanh,
            "MUL": self.multiply,
            "ADD": self.add,
        }
        return known.get(operator, self.other).value

    def bounds(self) -> "tuple[CpuCosts, CpuCosts]":
        """Returns the fastest and the slowest host within the ranges."""
        cheapest, dearest = {}, {}
        for field in dataclasses.fields(self):
            estimate: Estimate = getattr(self, field.name)
            low = dataclasses.replace(estimate, value=estimate.low)
            high = dataclasses.replace(estimate, value=estimate.high)
            faster_is_cheaper = field.name == "clock_ratio"
            cheapest[field.name] = high if faster_is_cheaper else low
            dearest[field.name] = low if faster_is_cheaper else high
        return CpuCosts(**cheapest), CpuCosts(**dearest)


CORTEX_M55 = CpuCosts()


@dataclass(frozen=True)
class CallTime:
    """Time of one call of a graph, in ms.

    Attributes:
      npu: time of the NPU, according to Vela.
      operators: time of the CPU operators.
      conversion: time of dequantization and quantization at the boundary.
      transfer: time of the bytes passed between CPU and NPU.
      synchronisation: time to start the NPU and wait for it.
    """

    npu: float
    operators: float
    conversion: float
    transfer: float
    synchronisation: float

    @property
    def total(self) -> float:
        """Sum of the parts, which do not overlap because each waits for the previous one."""
        return sum(dataclasses.astuple(self))


def call_time(report: VelaReport, costs: CpuCosts = CORTEX_M55) -> CallTime:
    """Returns the time of one call of a compiled graph, the host's part included.

    Args:
      report: report on the compiled graph.
      costs: costs of the host.
    """
    placement = report.placement
    ms_per_cycle = 1e3 / (report.core_clock_hz * costs.clock_ratio.value)
    operators = sum(
        elements * costs.cycles_per_element(name)
        for name, elements in placement.cpu_elements.items()
    )
    conversion = (
        placement.npu_to_cpu_elements * costs.dequantize.value
        + placement.cpu_to_npu_elements * costs.quantize.value
    )
    return CallTime(
        npu=report.inference_ms,
        operators=operators * ms_per_cycle,
        conversion=conversion * ms_per_cycle,
        transfer=placement.crossing_bytes * costs.crossing.value * ms_per_cycle,
        synchronisation=placement.npu_calls * costs.call.value * ms_per_cycle,
    )


@dataclass(frozen=True)
class Sensitivity:
    """A result with one constant at its low and at its high value, and the others unchanged.

    Attributes:
      constant: name of the constant.
      at_low: result at the low value.
      at_high: result at the high value.
    """

    constant: str
    at_low: float
    at_high: float


def sensitivity(
    figure: Callable[[CpuCosts], float], costs: CpuCosts = CORTEX_M55
) -> Sequence[Sensitivity]:
    """Varies each constant over its range.

    Args:
      figure: computes the result, e.g. ``lambda costs: call_time(report, costs).total``.
      costs: the constants.

    Returns:
      One row per constant, the largest change first.
    """
    rows = []
    for field in dataclasses.fields(costs):
        estimate: Estimate = getattr(costs, field.name)
        ends = [
            figure(
                dataclasses.replace(costs, **{field.name: dataclasses.replace(estimate, value=end)})
            )
            for end in (estimate.low, estimate.high)
        ]
        rows.append(Sensitivity(field.name, *ends))
    return sorted(rows, key=lambda row: -abs(row.at_high - row.at_low))
