"""Spoken digits by tensorflow-datasets' own builder, which downloads them and needs TensorFlow."""

import dataclasses
import functools
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int16

from data.audio import FULL_SCALE, to_corpus_audio
from data.corpus import Recording
from data.english import number_words
from data.skips import Cause, SkipError, SkipReport
from data.spoken_digits.folder import NAME
from rnnt_qat.input_pipeline.corpus import CorpusError

RATE_HZ = 8_000
"""Sample rate of tfds' recordings."""


@dataclasses.dataclass(frozen=True)
class TfdsDigits:
    """The Free Spoken Digit Dataset as prepared by tfds.

    Attributes:
      data_dir: folder of tfds for its own copy.
    """

    data_dir: Path

    def fingerprint(self) -> dict[str, Any]:
        """Names the builder of tfds, which has one version of one corpus."""
        return {"tfds": "spoken_digit"}

    def recordings(self, skip_report: SkipReport) -> list[Recording]:
        """Lists the digits, in the order of their ids.

        Args:
          skip_report: counts files that are not named after a digit and a speaker.

        Raises:
          CorpusError: TensorFlow is not installed.
        """
        if importlib.util.find_spec("tensorflow") is None:
            raise CorpusError(
                "tfds' own spoken_digit needs TensorFlow (pip install tensorflow pydub, 2.4 GB), "
                "which is not installed; without it, name the dataset's folder"
            )
        dataset = tfds.load("spoken_digit", split="train", data_dir=self.data_dir)
        return convert(tfds.as_numpy(dataset), skip_report)


def convert(examples: Iterable[Mapping[str, Any]], skip_report: SkipReport) -> list[Recording]:
    """Converts tfds' examples to recordings, in the order of their ids.

    Args:
      examples: dictionaries with ``audio/filename`` (bytes, "7_jackson_32.wav"), ``label`` (the
        digit) and ``audio``: 16-bit samples at 8 kHz as int64.
      skip_report: counts files that are not named after a digit and a speaker.
    """
    found = []
    for example in examples:
        name = Path(example["audio/filename"].decode()).stem
        match = NAME.fullmatch(name)
        if match is None or int(match["digit"]) != int(example["label"]):
            skip_report.skip(name, SkipError(Cause.NOT_A_DIGIT, name))
            continue
        decode = functools.partial(_decode, example["audio"].astype(np.int16))
        found.append(Recording(name, match["speaker"], number_words(int(match["digit"])), decode))
    return sorted(found, key=lambda recording: recording.id)


def _decode(audio: Int16[np.ndarray, " N"]) -> Int16[np.ndarray, " M"]:
    return to_corpus_audio(audio[:, None].astype(np.float32) / FULL_SCALE, RATE_HZ)
