"""A whole recognizer compiled for one chip: its three graphs and what a decode costs there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnt_qat.artefact.integers import LstmIntegers, RnntIntegers
from rnnt_qat.export.rnnt_graphs import encoder_chunk, joint_step, prediction_step
from rnnt_qat.latency.cpu_costs import CORTEX_M55, CpuCosts, call_time
from rnnt_qat.latency.engine_latency import DecodeCounts, EngineLatency, GraphTimes, engine_latency
from rnnt_qat.latency.vela import NpuTarget, VelaError, VelaReport, compile_graph


@dataclass(frozen=True)
class CompiledRecognizer:
    """What the compiler says of a recognizer's graphs on one target.

    Attributes:
      chunk_frames: encoder frames of one encoder call.
      encoder: its chunk.
      prediction: one step.
      joint: one step.
    """

    chunk_frames: int
    encoder: VelaReport
    prediction: VelaReport
    joint: VelaReport

    @property
    def graphs(self) -> tuple[VelaReport, VelaReport, VelaReport]:
        """The three reports."""
        return self.encoder, self.prediction, self.joint

    @property
    def target(self) -> NpuTarget:
        """Where it runs."""
        return self.encoder.target

    @property
    def npu_share(self) -> float:
        """Share of the three graphs' operators on the NPU, in [0, 1]."""
        on_npu = sum(graph.npu_operators for graph in self.graphs)
        return on_npu / (on_npu + sum(graph.cpu_operators for graph in self.graphs))

    @property
    def weight_bytes(self) -> int:
        """Weights before compression."""
        return sum(graph.original_weight_bytes for graph in self.graphs)

    @property
    def stored_weight_bytes(self) -> int:
        """Weights, biases and scales as the chip reads them."""
        return sum(graph.encoded_weight_bytes for graph in self.graphs)

    def times(self, costs: CpuCosts = CORTEX_M55) -> GraphTimes:
        """Time of one call of each graph, the host's part included."""
        return GraphTimes(*(call_time(graph, costs).total for graph in self.graphs))

    def latency(self, counts: DecodeCounts, costs: CpuCosts = CORTEX_M55) -> EngineLatency:
        """Engine latency of decodes with this chunk size."""
        return engine_latency(self.times(costs), counts)


def compile_recognizer(
    model: RnntIntegers,
    chunks: Sequence[int],
    target: NpuTarget,
    on_cpu: Sequence[str] = (),
    keep_in: Path | None = None,
) -> list[CompiledRecognizer]:
    """Compiles the graphs, one encoder a chunk size.

    Args:
      model: the integers.
      chunks: encoder frames a chunk.
      target: where to run.
      on_cpu: operator types that the NPU is not to be given.
      keep_in: takes the compiled graphs, named ``{graph}_{target}.tflite``.

    Raises:
      VelaError: with Vela's own message, or for a layer on which it is known to crash.
    """
    _check_widths(model)

    def compiled(graph: bytes, name: str) -> VelaReport:
        keep = None if keep_in is None else keep_in / f"{name}_{target.name}.tflite"
        return compile_graph(graph, name, target, on_cpu, keep)

    prediction = compiled(prediction_step(model), "prediction")
    joint = compiled(joint_step(model), "joint")
    group = model.encoder.time_reduction
    return [
        CompiledRecognizer(
            chunk,
            compiled(encoder_chunk(model, chunk * group), f"encoder_{chunk}"),
            prediction,
            joint,
        )
        for chunk in chunks
    ]


def _check_widths(model: RnntIntegers) -> None:
    """Refuses fused LSTMs of one unit: Vela ends by a segmentation fault on them."""
    for name, network in (("encoder", model.encoder), ("prediction", model.prediction)):
        for n, layer in enumerate(network.layers):
            fused = isinstance(layer, LstmIntegers) and not layer.is_wide
            if fused and layer.output_size == 1:
                raise VelaError(
                    f"{name}/lstm_{n} has hidden_size=1, and Vela crashes on a fused LSTM of one "
                    "unit: give it two, or train it for ethos_u_16x8"
                )
