import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_qat.frontend.log_mel import MLPERF, LogMelConfig, log_mel, mel_filterbank
from tests.reference import log_mel as reference

CONFIG = LogMelConfig()


@functools.lru_cache
def jitted(config):
    return jax.jit(functools.partial(log_mel, config=config))


def speechlike(rng, batch, num_samples):
    """Bursts of noise and tones over digital silence, as recordings have them."""
    time = np.arange(num_samples) / 16_000
    audio = rng.normal(0, 0.1, (batch, num_samples)) * (np.sin(2 * np.pi * 3 * time) > 0)
    audio += 0.3 * np.sin(2 * np.pi * rng.uniform(80, 4000, (batch, 1)) * time)
    audio[:, num_samples // 2 : num_samples // 2 + num_samples // 8] = 0
    return np.clip(audio, -1, 0.999).astype(np.float32)


def offline(audio, config=CONFIG):
    return np.asarray(jitted(config)(audio, np.zeros((len(audio), config.history), np.float32))[0])


def streamed(audio, chunk, config=CONFIG):
    history, frames = np.zeros((len(audio), config.history), np.float32), []
    for start in range(0, audio.shape[1], chunk):
        out, history = jitted(config)(audio[:, start : start + chunk], history)
        frames.append(np.asarray(out))
    return np.concatenate(frames, axis=1)


@pytest.mark.parametrize(
    "config",
    [CONFIG, MLPERF, LogMelConfig(8000, 32.0, 8.0, 40, 256, 60.0, 3800.0, 0.0, 1e-5)],
    ids=["default", "mlperf", "telephone"],
)
def test_equals_the_definition(config):
    rng = np.random.default_rng(0)
    audio = speechlike(rng, 1, 37 * config.hop)
    expected = reference.log_mel(
        audio[0], config.sample_rate_hz, config.window, config.hop, config.num_mel_bins,
        config.fft_size, config.low_hz, config.high_hz, config.preemphasis, config.log_floor,
    )  # fmt: skip
    energies = np.exp(offline(audio, config)[0])
    np.testing.assert_allclose(energies, np.exp(expected), rtol=2e-3, atol=1e-9)


@pytest.mark.parametrize("chunk_frames", [1, 2, 7, 24, 64])
@pytest.mark.parametrize("batch", [1, 5])
def test_chunks_give_the_bits_of_the_whole(chunk_frames, batch):
    audio = speechlike(np.random.default_rng(chunk_frames), batch, 130 * CONFIG.hop)
    np.testing.assert_array_equal(streamed(audio, chunk_frames * CONFIG.hop), offline(audio))


@settings(max_examples=3, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(1, 5), st.lists(st.integers(1, 33), min_size=1, max_size=4)
)
def test_any_cut_and_any_batch_gives_the_same_bits(seed, batch, cuts):
    audio = speechlike(np.random.default_rng(seed), batch, sum(cuts) * CONFIG.hop)
    whole = offline(audio)
    history, frame = np.zeros((batch, CONFIG.history), np.float32), 0
    for cut in cuts:
        chunk = audio[:, frame * CONFIG.hop : (frame + cut) * CONFIG.hop]
        out, history = jitted(CONFIG)(chunk, history)
        np.testing.assert_array_equal(out, whole[:, frame : frame + cut])
        frame += cut
    np.testing.assert_array_equal(offline(audio[-1:])[0], whole[-1])


def test_filterbank_covers_the_band_without_gaps():
    weights = mel_filterbank(CONFIG)
    assert weights.shape == (257, 80)
    assert weights.max() <= 1
    hz = np.arange(257) * 16_000 / 512
    inside = (hz > 40) & (hz < 7700)
    np.testing.assert_allclose(weights.sum(1)[inside], 1, atol=1e-12)


def test_silence_is_the_floor_and_energy_scales():
    np.testing.assert_allclose(offline(np.zeros((1, 1600), np.float32)), np.log(1e-6), rtol=1e-6)
    audio = speechlike(np.random.default_rng(1), 1, 1600)
    loud = offline(audio)[0, :4]
    np.testing.assert_allclose(loud - offline(audio / 2)[0, :4], np.log(4), atol=0.05)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window_ms": 25.01}, "log_mel.window_ms=25.01"),
        ({"hop_ms": 30.0}, "hop <= window"),
        ({"high_hz": 9000.0}, "high_hz=9000"),
        ({"preemphasis": 1.0}, "preemphasis"),
        ({"log_floor": 0.0}, "log_floor"),
        ({"num_mel_bins": 256}, "num_mel_bins=256: filters"),
    ],
)
def test_impossible_frames_are_refused_by_field(fields, message):
    with pytest.raises(ValueError, match=message):
        LogMelConfig(**fields)


def test_partial_hop_is_refused_and_frames_are_counted_once():
    with pytest.raises(ValueError, match="multiple of the hop, 160"):
        log_mel(np.zeros((1, 161)), np.zeros((1, CONFIG.history)), CONFIG)
    assert [CONFIG.num_frames(n) for n in (0, 1, 160, 161)] == [0, 1, 1, 2]
