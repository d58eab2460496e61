"""A stream is resampled to the bits of the whole recording."""

import math

import numpy as np
import pytest
from scipy.signal import resample_poly

from data.resampling import Resampler


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 7919])
def test_every_cut_gives_the_bits_of_the_whole(rate_hz):
    rng = np.random.default_rng(0)
    audio = rng.normal(0, 0.2, rate_hz // 4 + 17).astype(np.float32)
    divisor = math.gcd(rate_hz, 16000)
    want = resample_poly(audio, 16000 // divisor, rate_hz // divisor)
    for sizes in ((1, 7, 160), (1000,), (len(audio),)):
        resampler, parts, at = Resampler(rate_hz, 16000), [], 0
        while at < len(audio):
            size = sizes[len(parts) % len(sizes)]
            parts.append(resampler.push(audio[at : at + size]))
            at += size
        got = np.concatenate([*parts, resampler.end()])
        np.testing.assert_array_equal(got, want)


def test_it_holds_no_more_than_its_filter_needs():
    resampler = Resampler(44100, 16000)
    made = [len(resampler.push(np.zeros(441, np.float32))) for _ in range(500)]
    assert set(made[10:]) == {160}
    assert len(resampler._held) < 100


def test_nothing_gives_nothing():
    assert len(Resampler(8000, 16000).end()) == 0
