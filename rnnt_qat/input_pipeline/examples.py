"""From a corpus to the examples of training: tokenized, feasible, and the rest accounted for."""

import collections
import dataclasses

import numpy as np

from rnnt_qat.infra.config import ConfigError
from rnnt_qat.input_pipeline.mixture import Mixture, SpeechSource
from rnnt_qat.input_pipeline.tokenizer import Tokenizer, TokenizerError
from rnnt_qat.typing import Int


@dataclasses.dataclass(frozen=True)
class Examples:
    """What an epoch consists of; a repeated utterance is several examples.

    Attributes:
      utterance: position of each example in its source.
      num_samples: audio length of each.
      labels: labels of each, in [1, V).
    """

    utterance: Int[np.ndarray, "E"]
    num_samples: Int[np.ndarray, "E"]
    labels: list[Int[np.ndarray, "U"]]

    def __len__(self) -> int:
        return len(self.utterance)

    @property
    def num_labels(self) -> Int[np.ndarray, "E"]:
        """Labels of each example."""
        return np.array([len(labels) for labels in self.labels], np.int64)


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Utterances left out of training: how many by cause, and the first of each.

    Attributes:
      total: utterances looked at.
      counts: how many by cause.
      first: id and particulars of a cause's first utterance.
    """

    total: int
    counts: dict[str, int]
    first: dict[str, str]

    def __str__(self) -> str:
        if not self.counts:
            return f"all {self.total} utterances are used"
        causes = (f"{n} {cause} (first: {self.first[cause]})" for cause, n in self.counts.items())
        return (
            f"skipped {sum(self.counts.values())} of {self.total} utterances: {', '.join(causes)}"
        )


def all_examples(source: SpeechSource, tokenizer: Tokenizer) -> Examples:
    """Every utterance of ``source``, in order; TokenizerError names one that cannot be spelled."""
    labels = []
    for id, text in zip(source.ids, source.texts, strict=True):
        try:
            labels.append(np.array(tokenizer.encode(text), np.int32))
        except TokenizerError as error:
            raise TokenizerError(f"utterance {id}: {error}") from error
    return Examples(np.arange(len(source)), np.asarray(source.num_samples), labels)


def feasible_examples(
    source: SpeechSource,
    tokenizer: Tokenizer,
    *,
    max_samples: int,
    max_labels_per_sample: float,
) -> tuple[Examples, Skipped]:
    """The utterances that can be trained on, repeated as a :class:`Mixture` asks, and the others.

    Args:
      source: a corpus split or a mixture.
      tokenizer: spells the transcripts.
      max_samples: longest audio.
      max_labels_per_sample: past it, transcript and audio cannot belong together.

    Raises:
      ValueError: nothing is left.
    """
    counts: collections.Counter[str] = collections.Counter()
    first: dict[str, str] = {}
    kept, labels = [], []
    for i, (id, text) in enumerate(zip(source.ids, source.texts, strict=True)):
        spelled, cause, detail = _judge(
            text, int(source.num_samples[i]), tokenizer, max_samples, max_labels_per_sample
        )
        if cause:
            counts[cause] += 1
            first.setdefault(cause, f"{id}: {detail}")
        else:
            kept.append(i)
            labels.append(np.array(spelled, np.int32))
    skipped = Skipped(len(source), dict(counts), first)
    if not kept:
        raise ConfigError(f"no utterance can be trained on: {skipped}")
    repeats = source.repeats[kept] if isinstance(source, Mixture) else np.ones(len(kept), int)
    rows = np.repeat(np.arange(len(kept)), repeats)
    utterance = np.asarray(kept)[rows]
    num_samples = np.asarray(source.num_samples)[utterance]
    return Examples(utterance, num_samples, [labels[row] for row in rows]), skipped


def _judge(
    text: str, num_samples: int, tokenizer: Tokenizer, max_samples: int, max_rate: float
) -> tuple[list[int], str, str]:
    """Labels, or the cause and particulars of leaving the utterance out."""
    if not num_samples:
        return [], "without audio", "0 samples"
    if not text.strip():
        return [], "without transcript", f"{num_samples} samples"
    if num_samples > max_samples:
        return [], "longer than pipeline.max_seconds", f"{num_samples} samples > {max_samples}"
    try:
        labels = tokenizer.encode(text)
    except TokenizerError as error:
        return [], "with unknown characters", str(error)
    if len(labels) > max_rate * num_samples:
        detail = f"{len(labels)} labels in {num_samples} samples"
        return [], "above pipeline.max_labels_per_second", detail
    return labels, "", ""
