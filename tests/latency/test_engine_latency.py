"""Engine latency from times and counts."""

import numpy as np
import pytest

from rnnt_qat.artefact.player import greedy
from rnnt_qat.latency.engine_latency import DecodeCounts, GraphTimes, engine_latency

TIMES = GraphTimes(encoder_chunk_ms=2.0, prediction_step_ms=1.0, joint_step_ms=0.5)


def test_latency_is_calls_times_times():
    counts = DecodeCounts(
        audio_seconds=np.array([1.0, 3.0]),
        encoder_calls=np.array([10, 20]),
        prediction_calls=np.array([4, 8]),
        joint_calls=np.array([20, 40]),
    )
    latency = engine_latency(TIMES, counts)
    assert latency.ms_per_second == pytest.approx((34 + 68) / 4)
    assert latency.encoder_ms_per_second == pytest.approx(60 / 4)
    assert latency.prediction_ms_per_second == pytest.approx(12 / 4)
    assert latency.joint_ms_per_second == pytest.approx(30 / 4)
    assert latency.real_time_factor == pytest.approx(0.0255)
    assert latency.p50_utterance_ms == pytest.approx(51)
    assert latency.p90_ms_per_second == pytest.approx(np.percentile([34, 68 / 3], 90))


class Scripted:
    """Emits ``labels_per_frame[t]`` labels at encoder frame t; two feature frames make one."""

    def __init__(self, labels_per_frame: list[int]) -> None:
        self._script = labels_per_frame

    def reset(self) -> None:
        self._left = dict(enumerate(self._script))
        self._frame = 0

    def encode(self, features: np.ndarray) -> np.ndarray:
        start, self._frame = self._frame, self._frame + -(-len(features) // 2)
        return np.arange(start, self._frame)[:, None]

    def predict(self, label: int) -> np.ndarray:
        return np.zeros(1)

    def joint(self, encoded: np.ndarray, predicted: np.ndarray) -> int:
        frame = int(encoded[0])
        self._left[frame] -= 1
        return int(self._left[frame] >= 0)

    def states(self) -> dict[str, np.ndarray]:
        return {}


def test_counts_from_hypotheses_equal_those_of_the_search():
    scripts = [[0, 2, 1, 0, 0, 3, 0], [0, 0], [1, 0, 3, 4]]
    found = [
        greedy(Scripted(s), np.zeros((2 * len(s) - 1, 1)), chunk_frames=6, max_symbols_per_frame=3)
        for s in scripts
    ]
    assert [len(t.tokens) for t in found] == [6, 0, 7]
    seconds = np.ones(3)
    by_search = DecodeCounts.of_transcripts(found, seconds)
    by_result = DecodeCounts.of_hypotheses(
        seconds,
        np.array([t.encoder_frames for t in found]),
        np.array([len(t.tokens) for t in found]),
        frames_per_chunk=3,
        full_frames=np.array([1, 0, 2]),
    )
    for field in ("encoder_calls", "prediction_calls", "joint_calls"):
        np.testing.assert_array_equal(getattr(by_search, field), getattr(by_result, field))


def test_counts_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="one number an utterance"):
        DecodeCounts(np.ones(2), np.ones(3, int), np.ones(2, int), np.ones(2, int))
    with pytest.raises(ValueError, match="without audio"):
        DecodeCounts(np.zeros(1), np.ones(1, int), np.ones(1, int), np.ones(1, int))
