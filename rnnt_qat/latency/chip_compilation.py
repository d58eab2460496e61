"""Compiles a recognizer's three graphs for one chip and computes its decoding times."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.layer_integers import LstmIntegers
from rnnt_qat.export.rnnt_graphs import encoder_chunk, joint_step, prediction_step
from rnnt_qat.latency.cpu_costs import CORTEX_M55, CpuCosts, call_time
from rnnt_qat.latency.engine_latency import DecodeCounts, EngineLatency, GraphTimes, engine_latency
from rnnt_qat.latency.targets import NpuTarget
from rnnt_qat.latency.vela import VelaError, VelaReport, compile_graph


@dataclass(frozen=True)
class CompiledRecognizer:
    """Reports of the compiler on a recognizer's graphs for one target.

    Attributes:
      chunk_frames: encoder frames per encoder call.
      encoder: report on an encoder chunk.
      prediction: report on a prediction step.
      joint: report on a joint step.
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
        """The target."""
        return self.encoder.target

    @property
    def npu_share(self) -> float:
        """Fraction of the operators of the three graphs that run on the NPU."""
        on_npu = sum(graph.npu_operators for graph in self.graphs)
        return on_npu / (on_npu + sum(graph.cpu_operators for graph in self.graphs))

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights before compression."""
        return sum(graph.original_weight_bytes for graph in self.graphs)

    @property
    def stored_weight_bytes(self) -> int:
        """Bytes of weights, biases and scales as the chip reads them."""
        return sum(graph.encoded_weight_bytes for graph in self.graphs)

    def times(self, costs: CpuCosts = CORTEX_M55) -> GraphTimes:
        """Returns the time of one call of each graph, the host's part included."""
        return GraphTimes(*(call_time(graph, costs).total for graph in self.graphs))

    def latency(self, counts: DecodeCounts, costs: CpuCosts = CORTEX_M55) -> EngineLatency:
        """Returns the engine latency of decodes with this chunk size.

        Args:
          counts: number of calls of each graph.
          costs: costs of the host.
        """
        return engine_latency(self.times(costs), counts)


def compile_recognizer(
    model: RnntIntegers,
    chunks: Sequence[int],
    target: NpuTarget,
    on_cpu: Sequence[str] = (),
    keep_in: Path | None = None,
) -> list[CompiledRecognizer]:
    """Compiles the graphs, with one encoder per chunk size.

    Args:
      model: the integers.
      chunks: chunk sizes in encoder frames.
      target: the target.
      on_cpu: types of operators to keep off the NPU.
      keep_in: folder for the compiled graphs, named ``{graph}_{target}.tflite``; None keeps none.

    Raises:
      VelaError: Vela fails, with its message, or is known to crash on a layer.
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
    """Raises VelaError for a fused LSTM of one unit, on which Vela crashes."""
    for name, network in (("encoder", model.encoder), ("prediction", model.prediction)):
        for n, layer in enumerate(network.layers):
            fused = isinstance(layer, LstmIntegers) and not layer.is_wide
            if fused and layer.output_size == 1:
                raise VelaError(
                    f"{name}/lstm_{n} has hidden_size=1, and Vela crashes on a fused LSTM of one "
                    "unit: give it two, or train it for ethos_u_16x8"
                )
