"""Selection of training examples: tokenized, feasible, with a report of the skipped ones."""

import collections
import dataclasses

import numpy as np

from rnnt_qat.infra.config import ConfigError
from rnnt_qat.input_pipeline.mixture import Mixture, SpeechSource
from rnnt_qat.input_pipeline.tokenizer import Tokenizer, TokenizerError
from rnnt_qat.typing import Int


@dataclasses.dataclass(frozen=True)
class Examples:
    """Examples of an epoch; an utterance with repeats is several examples.

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
        """Number of labels of each example."""
        return np.array([len(labels) for labels in self.labels], np.int64)


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Report of the utterances excluded from training.

    Attributes:
      total: number of utterances examined.
      counts: number of excluded utterances by cause.
      first: id and details of the first excluded utterance by cause.
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
    """Tokenizes every utterance of ``source``, in order.

    Args:
      source: a corpus split or a mixture.
      tokenizer: converts transcripts to labels.

    Raises:
      TokenizerError: a transcript cannot be tokenized; the message names the utterance.
    """
    labels = []
    for utterance_id, text in zip(source.ids, source.texts, strict=True):
        try:
            labels.append(np.array(tokenizer.encode(text), np.int32))
        except TokenizerError as error:
            raise TokenizerError(f"utterance {utterance_id}: {error}") from error
    return Examples(np.arange(len(source)), np.asarray(source.num_samples), labels)


def feasible_examples(
    source: SpeechSource,
    tokenizer: Tokenizer,
    *,
    max_samples: int,
    max_labels_per_sample: float,
) -> tuple[Examples, Skipped]:
    """Selects the utterances that can be trained on, with the repeats of a :class:`Mixture`.

    Args:
      source: a corpus split or a mixture.
      tokenizer: converts transcripts to labels.
      max_samples: maximum length of the audio in samples.
      max_labels_per_sample: maximum rate of labels; above it, transcript and audio cannot match.

    Returns:
      The examples of an epoch, and the report of the skipped utterances.

    Raises:
      ValueError: no utterance is left.
    """
    counts: collections.Counter[str] = collections.Counter()
    first: dict[str, str] = {}
    kept, labels = [], []
    for i, (utterance_id, text) in enumerate(zip(source.ids, source.texts, strict=True)):
        spelled, cause, detail = _judge(
            text, int(source.num_samples[i]), tokenizer, max_samples, max_labels_per_sample
        )
        if cause:
            counts[cause] += 1
            first.setdefault(cause, f"{utterance_id}: {detail}")
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
    """Returns the labels of an utterance, or the cause and details of its exclusion."""
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
