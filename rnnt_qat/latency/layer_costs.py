"""What each layer of a recognizer costs on a chip, alone: Vela's time a call, and stored bytes.

A sum over layers estimates the cost of a recognizer whose layers have different weights, without
compiling every combination. Against the whole networks, it leaves out

- what the compiler gains or loses between layers;
- the operators of no layer: stacking of frames, and the joint's sum, tanh and argmax;

and it counts the start of the NPU by the host, and transfers if there are any, once for each layer
instead of once for each network.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.export.rnnt_graphs import product, recurrent_layer
from rnnt_qat.latency.cpu_costs import CORTEX_M55, CpuCosts, call_time
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.latency.targets import NpuTarget
from rnnt_qat.latency.vela import VelaReport, compile_graph

ENCODER, PREDICTION, JOINT = "encoder", "prediction", "joint"


@dataclass(frozen=True)
class LayerCost:
    """The cost of one layer.

    Attributes:
      call_ms: time of one call of its graph, in ms.
      weight_bytes: bytes of weights, biases and scales as the chip reads them.
    """

    call_ms: float
    weight_bytes: int


Compile = Callable[[bytes, str, NpuTarget], VelaReport]


def layer_costs(
    model: RnntIntegers,
    chunk_frames: int,
    target: NpuTarget,
    costs: CpuCosts = CORTEX_M55,
    compiled: Compile = compile_graph,
) -> dict[str, LayerCost]:
    """Compiles every layer alone.

    Args:
      model: the integers.
      chunk_frames: encoder frames per encoder call.
      target: the chip.
      costs: costs of the host.
      compiled: the compiler.

    Returns:
      Costs by the path of the layer, e.g. ``encoder/lstm_0``.

    Raises:
      VelaError: the compiler fails.
    """
    found = {}
    for path, graph in _graphs(model, chunk_frames):
        report = compiled(graph, path.replace("/", "_"), target)
        found[path] = LayerCost(call_time(report, costs).total, report.encoded_weight_bytes)
    return found


def _graphs(model: RnntIntegers, chunk_frames: int) -> Iterator[tuple[str, bytes]]:
    encoder, prediction = model.encoder, model.prediction
    for index, layer in enumerate(encoder.layers):
        early = index < encoder.layers_before_reduction
        frames = chunk_frames * (encoder.time_reduction if early else 1)
        yield f"{ENCODER}/{layer.cell_kind}_{index}", recurrent_layer(layer, frames)
    yield f"{ENCODER}/projection", product(encoder.projection, chunk_frames)
    for index, layer in enumerate(prediction.layers):
        yield f"{PREDICTION}/{layer.cell_kind}_{index}", recurrent_layer(layer, 1)
    yield f"{PREDICTION}/projection", product(prediction.projection, 1)
    yield JOINT, product(model.joint.output, 1)


def ms_per_second(costs: Mapping[str, LayerCost], counts: DecodeCounts) -> float:
    """Returns the engine time of decodes, in ms per second of audio.

    Args:
      costs: the cost of each layer.
      counts: number of calls of each network.
    """
    calls = {
        ENCODER: counts.encoder_calls,
        PREDICTION: counts.prediction_calls,
        JOINT: counts.joint_calls,
    }
    total = sum(cost.call_ms * calls[p.partition("/")[0]].sum() for p, cost in costs.items())
    return float(total / counts.audio_seconds.sum())


def weight_bytes(costs: Mapping[str, LayerCost]) -> int:
    """Returns the bytes of all layers."""
    return sum(cost.weight_bytes for cost in costs.values())
