import json

import numpy as np
import pytest

from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.statistics import FeatureStats, measure_stats


def recordings(seed=0, lengths=(16_000, 64_001, 400, 1)):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 3000, n).astype(np.int16) for n in lengths]


@pytest.mark.parametrize("deviation", [1.0, 0.4])
def test_normalised_training_audio_has_zero_mean_and_the_deviation(deviation):
    config = FrontendConfig(stack=1, deviation=deviation)
    stats = measure_stats(recordings(), config.log_mel)
    frames = []
    for audio in recordings():
        padded = np.zeros((1, config.padded_samples(len(audio))), np.float32)
        padded[0, : len(audio)] = audio / 32768
        frames.append(Frontend(config, stats)(padded, np.array([len(audio)]))[0][0])
    frames = np.concatenate(frames).astype(np.float64)
    np.testing.assert_allclose(frames.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(frames.std(0), deviation, atol=1e-4)


def test_float_audio_gives_the_same_moments_and_a_constant_bin_keeps_a_floor():
    ints = measure_stats(recordings(), LogMelConfig())
    floats = measure_stats([a / np.float32(32768) for a in recordings()], LogMelConfig())
    np.testing.assert_array_equal(ints.mean, floats.mean)
    silent = measure_stats([np.zeros(1600, np.int16)], LogMelConfig(), min_std=0.25)
    np.testing.assert_allclose(silent.std, 0.25)


def test_file_round_trip_is_exact(tmp_path):
    stats = measure_stats(recordings(), LogMelConfig())
    stats.save(tmp_path / "stats.json")
    loaded = FeatureStats.load(tmp_path / "stats.json")
    np.testing.assert_array_equal(loaded.mean, stats.mean)
    np.testing.assert_array_equal(loaded.std, stats.std)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a file of feature statistics"),
        (json.dumps({"mean": [0.0]}), "std"),
        (json.dumps({"mean": [0.0], "std": [1.0, 1.0]}), r"mean \(1,\)"),
        (json.dumps({"mean": [0.0], "std": [0.0]}), "deviations positive"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        FeatureStats.load(tmp_path / "bad.json")
    assert "bad.json" in str(error.value)


def test_no_recordings_or_wrong_samples_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        measure_stats([], LogMelConfig())
    with pytest.raises(ValueError, match="int16 or float, not int32"):
        measure_stats([np.zeros(100, np.int32)], LogMelConfig())
