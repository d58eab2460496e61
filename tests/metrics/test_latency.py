import time

import numpy as np
import pytest

from rnnt_qat.metrics.latency import (
    Percentiles,
    emission_delays_ms,
    emission_times_ms,
    measure_real_time_factor,
)


def test_a_frame_is_heard_at_its_end():
    got = emission_times_ms([0, 0, 3, 9], encoder_frame_ms=60, audio_ms=590)
    np.testing.assert_allclose(got, [60, 60, 240, 590])


def test_chunks_are_awaited_and_the_end_completes_the_last():
    got = emission_times_ms([0, 3, 4, 9], encoder_frame_ms=60, audio_ms=590, chunk_ms=240)
    np.testing.assert_allclose(got, [240, 240, 480, 590])
    odd = emission_times_ms([2], encoder_frame_ms=0.1, audio_ms=9, chunk_ms=0.3)
    np.testing.assert_allclose(odd, [0.3])


def test_delays_compare_equal_hypotheses_only():
    got = emission_delays_ms([[1, 2], [3]], [[60, 120], [60]], [[1, 2], [4]], [[120, 60], [60]])
    assert got == [60, -60]


def test_percentiles():
    assert Percentiles.of([0, 1, 2, 3, 10]).p50 == 2
    assert np.isnan(Percentiles.of([]).p90)


def test_real_time_factor_leaves_the_warm_up_out():
    calls = []

    def run():
        calls.append(None)
        time.sleep(0.2 if len(calls) == 1 else 0.01)
        return np.zeros(())

    factor = measure_real_time_factor(run, audio_s=2.0, repeats=3)
    assert len(calls) == 4
    assert 0.005 <= factor.low <= factor.median <= factor.high
    assert factor.median < 0.1
    with pytest.raises(ValueError, match="needs audio"):
        measure_real_time_factor(run, audio_s=0)
