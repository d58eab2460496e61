import numpy as np
import pytest

from rnnt_qat.input_pipeline.room import reverberate, room_response, telephone_band


def test_a_room_has_the_reverberation_and_the_direct_sound_asked_for():
    response = room_response(np.random.default_rng(0), 0.4, 6.0)
    assert response[0] == 1.0
    assert len(response) == 0.4 * 16_000
    assert 10 * np.log10(1 / np.sum(response[1:] ** 2)) == pytest.approx(6.0, abs=1e-3)
    # Energy of the tail falls by 60 dB in 0.4 s, so by 30 dB in 0.2 s.
    early, late = (np.mean(response[a : a + 800] ** 2) for a in (800, 4000))
    assert 10 * np.log10(early / late) == pytest.approx(30.0, abs=2.0)


def test_a_room_delays_nothing_and_keeps_the_length():
    audio = np.zeros(1000, np.float32)
    audio[100] = 1.0
    heard = reverberate(audio, room_response(np.random.default_rng(1), 0.2, 10.0))
    assert heard.shape == audio.shape
    assert heard[100] == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(heard[:100], 0.0, atol=1e-6)


@pytest.mark.parametrize(("frequency_hz", "gain"), [(100, 0.0), (1000, 1.0), (6000, 0.0)])
def test_a_telephone_passes_its_band_only(frequency_hz, gain):
    tone = np.sin(2 * np.pi * frequency_hz * np.arange(16_000) / 16_000).astype(np.float32)
    heard = telephone_band(tone)[4000:]
    assert np.sqrt(2 * np.mean(heard**2)) == pytest.approx(gain, abs=0.03)
