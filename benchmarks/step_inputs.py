"""Batches of noise for benchmarks of training steps."""

import numpy as np


def noise_batch(rows: int, seconds: float, labels: int, vocabulary: int):
    """An ``AudioBatch`` whose rows fill 80 to 100 % of the bucket."""
    from rnnt_qat.batch import AudioBatch
    from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ

    rng = np.random.default_rng(0)
    samples = round(seconds * SAMPLE_RATE_HZ)
    audio_lengths = (rng.uniform(0.8, 1.0, rows) * samples).astype(np.int32)
    label_lengths = (rng.uniform(0.8, 1.0, rows) * labels).astype(np.int32)
    audio = 0.1 * rng.standard_normal((rows, samples), np.float32)
    tokens = rng.integers(1, vocabulary, (rows, labels), np.int32)
    return AudioBatch(
        audio=np.where(np.arange(samples) < audio_lengths[:, None], audio, 0),
        audio_lengths=audio_lengths,
        labels=np.where(np.arange(labels) < label_lengths[:, None], tokens, 0).astype(np.int32),
        label_lengths=label_lengths,
        utterance_index=np.arange(rows, dtype=np.int32),
    )
