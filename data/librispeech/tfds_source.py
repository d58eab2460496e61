"""LibriSpeech by tensorflow-datasets' own builder, which downloads it and needs TensorFlow."""

import dataclasses
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int16

from data.encoding import Recording
from data.languages import ENGLISH, Language
from data.skips import SkipError, SkipReport
from data.text import transcript
from rnnt_qat.input_pipeline.corpus import CorpusError


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """LibriSpeech as prepared by tfds.

    Attributes:
      data_dir: folder of tfds for its own copy.
    """

    data_dir: Path
    language: ClassVar[Language] = ENGLISH

    def fingerprint(self) -> dict[str, Any]:
        """Names the builder of tfds, which has one version of one corpus."""
        return {"tfds": "librispeech"}

    def recordings(self, subset: str | None, skip_report: SkipReport) -> Iterator[Recording]:
        """Yields the recordings of a subset.

        Args:
          subset: LibriSpeech's name of the subset, such as "train-clean-100".
          skip_report: counts unusable transcripts.

        Raises:
          CorpusError: TensorFlow is not installed, or no subset is named.
        """
        if subset is None:
            raise CorpusError(
                "tfds has LibriSpeech's own subsets: choose librispeech/clean_100 or full_960, "
                "or name a folder of speakers"
            )
        if importlib.util.find_spec("tensorflow") is None:
            raise CorpusError(
                "tfds' own librispeech needs TensorFlow (pip install tensorflow pydub, 2.4 GB), "
                "which is not installed; without it, name a folder in LibriSpeech's layout"
            )
        dataset = tfds.load("librispeech", split=split_name(subset), data_dir=self.data_dir)
        yield from convert(tfds.as_numpy(dataset), skip_report)


def split_name(subset: str) -> str:
    """Returns the name of a subset in tfds: "train-clean-100" -> "train_clean100"."""
    kind, quality, *hours = subset.split("-")
    return f"{kind}_{quality}{''.join(hours)}"


def convert(examples: Any, skip_report: SkipReport) -> Iterator[Recording]:
    """Converts tfds' LibriSpeech examples to recordings.

    Args:
      examples: dictionaries with ``id``, ``text`` (bytes), ``speaker_id`` and ``speech``: 16-bit
        samples at 16 kHz as int64.
      skip_report: counts unusable transcripts.
    """
    for example in examples:
        recording_id = example["id"].decode()
        try:
            written = example["text"].decode()
            text = transcript(written)
        except SkipError as error:
            skip_report.skip(recording_id, error)
            continue
        skip_report.normalise(recording_id, written, text)
        decode = functools.partial(_as_int16, example["speech"].astype(np.int16))
        yield Recording(recording_id, str(example["speaker_id"]), text, decode)


def _as_int16(audio: Int16[np.ndarray, " N"]) -> Int16[np.ndarray, " N"]:
    return audio
