"""Costs of a search by the vendor's compiler: of layers alone, of the recognizers of a front."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

from rnnt_qat.infra.console import Console
from rnnt_qat.infra.durable_files import write_text
from rnnt_qat.infra.progress import Progress
from rnnt_qat.latency.chip_compilation import compile_recognizer
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.latency.layer_costs import LayerCost, layer_costs
from rnnt_qat.latency.targets import NpuTarget
from rnnt_qat.studies.precision_candidates import Candidate, SearchConfig, mixed
from rnnt_qat.studies.search_model import SearchModel


def stored_costs(
    model: SearchModel,
    config: SearchConfig,
    target: NpuTarget,
    folder: pathlib.Path,
    console: Console,
) -> dict[int, dict[int, dict[str, LayerCost]]]:
    """Returns the cost of each layer by the bits of its weights and the chunk.

    Args:
      model: the integers.
      config: the bits and the chunks.
      target: the chip.
      folder: keeps the costs, and has those that were compiled before.
      console: output of the progress.
    """
    kinds = [(width, chunk) for width in config.bits for chunk in config.chunks]
    costs: dict[int, dict[int, dict[str, LayerCost]]] = {width: {} for width in config.bits}
    with Progress("compiling layers", console, "widths and chunks") as progress:
        for width, chunk in progress.each(kinds, len(kinds)):
            costs[width][chunk] = _costs(model, width, chunk, target, folder)
    return costs


def _costs(
    model: SearchModel, width: int, chunk: int, target: NpuTarget, folder: pathlib.Path
) -> dict[str, LayerCost]:
    name = f"costs_{model.chip}_w{width}_chunk{chunk}_{target.name}_{model.digest(width)}.json"
    stored = folder / name
    if not stored.exists():
        found = layer_costs(model.uniform[width], chunk, target)
        write_text(stored, json.dumps({k: dataclasses.asdict(v) for k, v in found.items()}))
    return {path: LayerCost(**cost) for path, cost in json.loads(stored.read_text()).items()}


def compiled_front(
    front: Sequence[Candidate],
    model: SearchModel,
    target: NpuTarget,
    counts: Mapping[int, DecodeCounts],
    console: Console,
) -> str:
    """Returns a table of a front's recognizers compiled whole, beside the sums of their layers.

    Args:
      front: the candidates.
      model: the integers that they are put together from.
      target: the chip.
      counts: calls of the networks, by the chunk.
      console: output of the progress.
    """
    lines = [
        "| policy | chunk | sum of layers, ms per s | compiled whole |",
        "|---|---:|---:|---:|",
    ]
    with Progress("compiling the front", console) as progress:
        for c in progress.each(front, len(front)):
            (whole,) = compile_recognizer(mixed(model.uniform, c.bits), (c.chunk_frames,), target)
            latency = whole.latency(counts[c.chunk_frames]).ms_per_second
            lines.append(
                f"| `{c.policy}` | {c.chunk_frames} | {c.ms_per_second:.2f} | {latency:.2f} |"
            )
    return "\n".join(lines)
