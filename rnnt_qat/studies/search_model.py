"""A recognizer prepared for a search: calibrated once, frozen with every number of weight bits."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from rnnt_qat.adaptation.objectives import label_loss
from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.batch import AudioBatch, Batch
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.task import RecognizerTask
from rnnt_qat.export.freeze import freeze
from rnnt_qat.export.thaw import thaw
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS, calibrated_ranges
from rnnt_qat.studies.precision_candidates import WIDEST, Bits, mixed, policy_line
from rnnt_qat.typing import PyTree


@dataclasses.dataclass(frozen=True)
class SearchModel:
    """The integers that a search puts candidates together from.

    Attributes:
      chip: name of the chip.
      uniform: the recognizer frozen with each number of bits, from the same ranges.
    """

    chip: str
    uniform: dict[int, RnntIntegers]

    @classmethod
    def of(
        cls, recognizer: Recognizer, chip: str, bits: Sequence[int], batches: Iterable[AudioBatch]
    ) -> "SearchModel":
        """Calibrates a floating-point recognizer and freezes it.

        Args:
          recognizer: the recognizer.
          chip: name of the chip.
          bits: numbers of bits of the weights.
          batches: speech to calibrate on.

        Raises:
          FreezeError: the chip's integers cannot be exported.
        """
        variables = _calibrated(recognizer, chip, batches)
        config = recognizer.config.model
        lines = {width: policy_line(chip, {"": width}) for width in {*bits, WIDEST}}
        models = {width: RNNT(config, policy_by_name(line)) for width, line in lines.items()}
        return cls(chip, {width: freeze(model, variables) for width, model in models.items()})

    def digest(self, width: int | None = None) -> str:
        """Returns a hash of the integers and their formats.

        Args:
          width: bits of the weights; None hashes the recognizers of all of them.
        """
        widths = sorted(self.uniform) if width is None else [width]
        return integers_digest(tuple(self.uniform[each] for each in widths))

    def loss(self, batches: Sequence[Batch]) -> Callable[[Bits], float]:
        """Returns the loss per label of a candidate on batches, by one program for all.

        Args:
          batches: speech that was not calibrated on.
        """
        policy = policy_by_name(self.chip)
        # Narrow kernels lie on the 8-bit grid: one program computes all candidates.
        program = thaw(self.uniform[WIDEST], policy)

        @jax.jit
        def of_variables(variables: PyTree, batch: Batch) -> tuple[jax.Array, jax.Array]:
            return label_loss(dataclasses.replace(program, variables=variables), batch)

        def loss(bits: Bits) -> float:
            variables = thaw(mixed(self.uniform, bits), policy).variables
            found = [of_variables(variables, batch) for batch in batches]
            return float(sum(part for part, _ in found) / sum(count for _, count in found))

        return loss


def integers_digest(integers: Any) -> str:
    """Returns a hash of a tree of dataclasses, tuples, arrays and values, in 16 digits."""
    digest = hashlib.sha256()
    for part in _parts(integers):
        digest.update(part)
    return digest.hexdigest()[:16]


def _parts(node: Any) -> Iterator[bytes]:
    if isinstance(node, np.ndarray):
        yield f"{node.dtype}{node.shape}".encode()
        yield node.tobytes()
    elif dataclasses.is_dataclass(node):
        yield type(node).__name__.encode()
        for field in dataclasses.fields(node):
            yield from _parts(getattr(node, field.name))
    elif isinstance(node, tuple):
        yield f"tuple{len(node)}".encode()
        for each in node:
            yield from _parts(each)
    else:
        yield repr(node).encode()


def _calibrated(recognizer: Recognizer, chip: str, batches: Iterable[AudioBatch]) -> PyTree:
    """Returns a recognizer's variables with the ranges of a chip's formats."""
    config = recognizer.config
    task = RecognizerTask(
        config.model,
        policy_by_name(chip),
        recognizer.frontend,
        config.spec_augment,
        config.objectives,
    ).under("")
    observe, stats = jax.jit(task.observe), task.empty_ranges()
    params = recognizer.variables["params"]
    for batch in batches:
        stats = observe(params, stats, batch)
    return {"params": params, QUANT_STATS: calibrated_ranges(stats)}


def calls(recognizer: Recognizer, batches: Sequence[AudioBatch], chunk_frames: int) -> DecodeCounts:
    """Returns the calls of each network if greedy search found the transcripts of batches.

    Args:
      recognizer: gives the rate of the encoder's frames.
      batches: speech with transcripts.
      chunk_frames: encoder frames a call.
    """
    config = recognizer.frontend.config
    samples = np.concatenate([np.asarray(b.audio_lengths) for b in batches])
    labels = np.concatenate([np.asarray(b.label_lengths) for b in batches])
    heard = samples > 0
    frames = -(-config.num_frames(samples) // recognizer.config.model.encoder.time_reduction)
    return DecodeCounts.of_hypotheses(
        samples[heard] / config.log_mel.sample_rate_hz, frames[heard], labels[heard], chunk_frames
    )
