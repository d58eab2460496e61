"""A small random recognizer over real features, for the evaluator's tests."""

import dataclasses
from types import SimpleNamespace

import numpy as np

from rnnt_qat.batch import AudioBatch
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig, StreamingEvaluator
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.statistics import FeatureStats
from tests.reference.table_transducer import ToyRecurrentTransducer

LOG_MEL = LogMelConfig(num_mel_bins=40)
FRONTEND = Frontend(
    FrontendConfig(LOG_MEL, stack=2),
    FeatureStats(np.full(40, -4.0, np.float32), np.full(40, 1.5, np.float32)),
)
RECOGNIZER = ToyRecurrentTransducer.random(
    14, FRONTEND.config.feature_size, 12, 9, blank_bias=2.0, time_reduction=2
)  # 40 ms an encoder frame
LENGTHS = [9_000, 16_000, 1, 12_345, 4_000, 15_999, 6_400]


DEFAULT = EvaluationConfig()


class Letters:
    """Token i is the i-th letter; token 4 is a space."""

    def decode(self, labels):
        return "".join(self.piece(i) for i in labels).strip()

    def piece(self, label):
        return " " if label == 4 else chr(ord("a") + label - 1)


def make_transducer(params):
    return dataclasses.replace(RECOGNIZER, params=params)


def batches(rows=3, sizes=(16_000,), empty_rows=True):
    """Noise that comes and goes, ``rows`` utterances a batch, bucket sizes in turn."""
    rng = np.random.default_rng(1)
    result = []
    for start in range(0, len(LENGTHS), rows):
        lengths = LENGTHS[start : start + rows]
        missing = rows - len(lengths) if empty_rows else 0
        size = sizes[len(result) % len(sizes)]
        audio = np.zeros((len(lengths) + missing, max(size, *lengths)), np.float32)
        for b, n in enumerate(lengths):
            loudness = np.exp(rng.normal(-3, 1.5, -(-n // 800))).repeat(800)[:n]
            audio[b, :n] = np.clip(loudness * rng.normal(size=n), -1, 1)
        labels = rng.integers(1, 9, (len(audio), 6)).astype(np.int32)
        label_lengths = rng.integers(0, 7, len(audio)).astype(np.int32)
        index = np.r_[np.arange(start, start + len(lengths)), np.full(missing, -1)].astype(np.int32)
        result.append(
            AudioBatch(
                audio=audio,
                audio_lengths=np.r_[lengths, np.zeros(missing)].astype(np.int32),
                labels=labels,
                label_lengths=label_lengths,
                utterance_index=index,
            )
        )
    return result


REFERENCES = SimpleNamespace(
    ids=[f"utt-{i}" for i in range(len(LENGTHS))],
    texts=["ab c", "a", "", "abc abc", "ccc b a", "b", "a b"],
)


def evaluator(config=DEFAULT, **kw):
    kw = {"batches": batches(), **kw}
    return StreamingEvaluator(config, make_transducer, FRONTEND, Letters(), **kw)
