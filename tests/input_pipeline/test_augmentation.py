import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_qat.input_pipeline.augmentation import WaveformAugmentation, samples_at_speed


def tone(hz=440, num_samples=16_000):
    return (0.25 * np.sin(2 * np.pi * hz * np.arange(num_samples) / 16_000)).astype(np.float32)


def test_nothing_by_default():
    audio = tone()
    np.testing.assert_array_equal(
        WaveformAugmentation().apply(audio, 1.0, np.random.default_rng(0)), audio
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5000), st.sampled_from([0.9, 1.0, 1.1, 0.95, 1.05, 0.5, 2.0]))
def test_the_planned_length_is_the_real_one(num_samples, speed):
    out = WaveformAugmentation().apply(
        tone(num_samples=num_samples), speed, np.random.default_rng(0)
    )
    assert out.dtype == np.float32
    assert len(out) == samples_at_speed(np.array([num_samples]), np.array([speed]))[0]


def test_faster_is_higher():
    out = WaveformAugmentation().apply(tone(440), 1.1, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(out))
    assert abs(np.argmax(spectrum) * 16_000 / len(out) - 484) < 2


def test_noise_has_the_asked_ratio_and_gain_its_range():
    audio = tone()
    noisy = WaveformAugmentation(noise_probability=1.0, snr_db=(10, 10))
    noise = noisy.apply(audio, 1.0, np.random.default_rng(0)) - audio
    assert abs(10 * np.log10(np.mean(audio**2) / np.mean(noise**2)) - 10) < 0.1
    loud = WaveformAugmentation(gain_db=(-6, 6))
    gains = [loud.apply(audio, 1.0, np.random.default_rng(i)).max() / 0.25 for i in range(50)]
    assert 0.5 < min(gains) < 0.6
    assert 1.7 < max(gains) < 2.0


def test_full_scale_clips_and_silence_stays_silent():
    hot = WaveformAugmentation(gain_db=(20, 20)).apply(tone(), 1.0, np.random.default_rng(0))
    assert hot.max() < 1
    assert hot.min() >= -1
    noisy = WaveformAugmentation(noise_probability=1.0)
    assert not noisy.apply(np.zeros(100, np.float32), 1.0, np.random.default_rng(0)).any()


def test_speeds_are_drawn_evenly():
    drawn = WaveformAugmentation((0.9, 1.0, 1.1)).draw_speeds(np.random.default_rng(0), 3000)
    counts = np.unique(drawn, return_counts=True)[1]
    assert (abs(counts - 1000) < 4 * np.sqrt(3000 * 2 / 9)).all()


@pytest.mark.parametrize(
    "fields",
    [
        {"speeds": ()},
        {"speeds": (3.0,)},
        {"gain_db": (1, 0)},
        {"noise_probability": 2},
        {"half_band_probability": -1},
    ],
)
def test_impossible_augmentation_is_refused_by_field(fields):
    with pytest.raises(ValueError, match=rf"augmentation\.{next(iter(fields))}="):
        WaveformAugmentation(**fields)


def test_a_room_adds_reflections_after_the_sound_and_an_offset_a_constant():
    click = np.zeros(16_000, np.float32)
    click[4000] = 0.25
    room = WaveformAugmentation(room_probability=1.0, direct_to_reverberant_db=(6, 6))
    heard = room.apply(click, 1.0, np.random.default_rng(0))
    assert len(heard) == len(click)
    np.testing.assert_allclose(heard[:4001], click[:4001], atol=1e-6)
    ratio = 10 * np.log10(click[4000] ** 2 / np.sum(heard[4001:] ** 2))
    assert abs(ratio - 6) < 0.1
    shifted = WaveformAugmentation(offset=0.01).apply(click, 1.0, np.random.default_rng(0)) - click
    assert 0 < abs(shifted[0]) <= 0.01
    np.testing.assert_allclose(shifted, shifted[0], atol=1e-6)


@pytest.mark.parametrize(
    "changes", [{"room_probability": 0.1}, {"offset": 0.1}, {"half_band_probability": 0.1}]
)
def test_whatever_differs_from_epoch_to_epoch_is_known(changes):
    assert WaveformAugmentation().changes_nothing
    assert not WaveformAugmentation(**changes).changes_nothing


def test_a_room_shorter_than_its_reflections_is_refused():
    with pytest.raises(ValueError, match=r"must be at least 0\.05"):
        WaveformAugmentation(reverberation_s=(0.01, 0.2))


def test_half_of_the_band_keeps_what_is_below_and_nothing_above():
    audio = tone(1000) + tone(6000)
    narrow = WaveformAugmentation(half_band_probability=1.0)
    out = narrow.apply(audio, 1.0, np.random.default_rng(0))
    middle = slice(1000, -1000)
    np.testing.assert_allclose(out[middle], tone(1000)[middle], atol=2e-3)
    for num_samples in (1, 2, 7, 8001):
        assert len(narrow.apply(tone(num_samples=num_samples), 1.0, np.random.default_rng(0))) == (
            num_samples
        )
    some = WaveformAugmentation(half_band_probability=0.25)
    changed = [
        np.abs(some.apply(audio, 1.0, np.random.default_rng(i)) - audio).max() > 0.1
        for i in range(200)
    ]
    assert 30 < sum(changed) < 72
