"""Assembly of a padded batch from rows of audio and labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnt_qat.batch import AudioBatch
from rnnt_qat.input_pipeline.buckets import Bucket
from rnnt_qat.typing import Float, Int

Row = tuple[int, Float[np.ndarray, "N"], Int[np.ndarray, "U"]]
"""Utterance index, float samples, labels."""


def assemble(rows: Sequence[Row | None], bucket: Bucket) -> AudioBatch:
    """Pads rows to one batch of NumPy arrays.

    Args:
      rows: rows of the batch; None is a padding row, with lengths 0 and utterance index -1.
      bucket: padded lengths N and U.

    Returns:
      A batch of ``len(rows)`` rows.
    """
    num_rows = len(rows)
    fields: dict[str, Any] = {
        "audio": np.zeros((num_rows, bucket.num_samples), np.float32),
        "audio_lengths": np.zeros(num_rows, np.int32),
        "labels": np.zeros((num_rows, bucket.num_labels), np.int32),
        "label_lengths": np.zeros(num_rows, np.int32),
        "utterance_index": np.full(num_rows, -1, np.int32),
    }
    for i, row in enumerate(rows):
        if row is None:
            continue
        index, audio, labels = row
        fields["audio"][i, : len(audio)] = audio
        fields["audio_lengths"][i] = len(audio)
        fields["labels"][i, : len(labels)] = labels
        fields["label_lengths"][i] = len(labels)
        fields["utterance_index"][i] = index
    return AudioBatch(**fields)
