import base64
import io

import numpy as np
import pytest
import soundfile

from rnnt_qat.evaluation.report import by_test_set
from rnnt_qat.metrics.wer import ErrorCounts
from rnnt_qat.report import recordings
from rnnt_qat.report.breakdown import by_length, by_snr, by_speaker
from tests.report.stored import BAD, result
from tests.report.stored import recordings as made


@pytest.mark.parametrize("snr_db", [5, 20, 40])
def test_the_ratio_of_speech_to_noise_is_found(snr_db):
    rng = np.random.default_rng(snr_db)
    speech = np.concatenate([np.zeros(16_000), rng.normal(0, 8000, 16_000), np.zeros(16_000)])
    noisy = speech + rng.normal(0, 8000 / 10 ** (snr_db / 20), len(speech))
    found = recordings.estimate_snr_db(np.clip(noisy, -32768, 32767).astype(np.int16), 16_000)
    assert found == pytest.approx(snr_db, abs=1.5)


def test_the_ends_of_the_scale():
    silence = np.zeros(16_000, np.int16)
    assert recordings.estimate_snr_db(silence, 16_000) == 0.0
    assert recordings.estimate_snr_db(silence[:10], 16_000) == 0.0
    clean = silence.copy()
    clean[8000:12_000] = np.resize([5000, -5000], 4000)
    assert recordings.estimate_snr_db(clean, 16_000) == recordings.HIGHEST_SNR_DB


def test_compressed_audio_keeps_its_length():
    audio = (np.sin(np.arange(12_345) * 0.3) * 9000).astype(np.int16)
    file = io.BytesIO(base64.b64decode(recordings._compressed(audio, 16_000)))
    samples, rate = soundfile.read(file)
    assert rate == 16_000
    assert len(samples) == len(audio)
    assert np.abs(samples - audio / 32768).max() < 0.1


def test_classes_add_up_to_the_test_set():
    bad = result("bad", BAD)
    for classes in (by_length(bad), by_speaker(bad, made()), by_snr(bad, made())):
        assert sum(c.utterances for c in classes) == len(bad.utterances)
        assert ErrorCounts.total(c.words for c in classes) == bad.words
    assert [c.name for c in by_length(bad)][:3] == ["0-1 s", "1-2 s", "2-3 s"]
    assert {c.name for c in by_speaker(bad, made())} == {"speaker 0", "speaker 1"}
    assert list(by_test_set([bad])) == ["made:test"]
