import numpy as np
import pytest

from data.synthetic_speech.noise import add_noise, babble, coloured_noise


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_power_of_noise_falls_as_its_colour_says(exponent):
    noise = coloured_noise(np.random.default_rng(0), 160_007, exponent)
    assert noise.shape == (160_007,)
    assert np.mean(noise**2) == pytest.approx(1.0, rel=1e-3)
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequency_hz = np.fft.rfftfreq(len(noise), 1 / 16_000)
    low, high = (
        power[(frequency_hz > f) & (frequency_hz < 1.2 * f)].mean() for f in (200.0, 3200.0)
    )
    assert np.log2(low / high) / 4 == pytest.approx(exponent, abs=0.1)  # four octaves apart


def test_the_signal_to_noise_ratio_is_the_one_asked_for():
    rng = np.random.default_rng(0)
    speech = rng.standard_normal(16_000).astype(np.float32) * 0.1
    noise = coloured_noise(rng, 16_000, 1.0)
    added = add_noise(speech, noise, 17.0) - speech
    assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(17.0, abs=0.01)


def test_babble_is_drawn_anew_and_repeatable():
    first, again = (babble(np.random.default_rng(3), 8000, "pico_us") for _ in range(2))
    other = babble(np.random.default_rng(4), 8000, "pico_us")
    np.testing.assert_array_equal(first, again)
    assert np.mean(first**2) == pytest.approx(1.0, rel=1e-3)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.2
