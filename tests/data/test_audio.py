import io

import numpy as np
import pytest
import soundfile

from data.audio import Limits, decode_audio, decode_g722, encode_flac, to_corpus_audio
from data.skips import Cause, SkipError
from tests.data.conftest import RATE_HZ, encode_g722, tone


def as_file(audio, rate_hz=RATE_HZ, **options) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate_hz, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_16_bit_16_khz_mono_comes_back_to_the_bit(form):
    audio = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    np.testing.assert_array_equal(decode_audio(as_file(audio, format=form)), audio)


def test_flac_round_trip():
    audio = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    np.testing.assert_array_equal(decode_audio(encode_flac(audio)), audio)


def test_stereo_is_mixed():
    stereo = np.stack([tone(0.1), np.zeros(1600, np.int16)], axis=1)
    mixed = decode_audio(as_file(stereo, format="WAV"))
    np.testing.assert_allclose(mixed, stereo[:, 0] / 2, atol=1)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 44100])
def test_resampling_keeps_length_pitch_and_level(rate_hz):
    audio = decode_audio(as_file(tone(1.0, rate_hz=rate_hz), rate_hz, format="WAV"))
    assert abs(len(audio) - RATE_HZ) <= 1
    middle = slice(1000, -1000)
    np.testing.assert_allclose(audio[:RATE_HZ][middle], tone(1.0)[: len(audio)][middle], atol=120)


def test_overshoot_is_clipped_not_wrapped():
    audio = to_corpus_audio(np.float32([[1.5], [-1.5]]), RATE_HZ)
    assert audio.tolist() == [32767, -32768]


def test_g722_is_two_samples_a_byte_and_close():
    audio = tone(1.0)
    content = encode_g722(audio)
    decoded = decode_g722(content)
    assert decoded.dtype == np.int16
    assert len(decoded) == 2 * len(content)
    correlation = np.correlate(decoded.astype(float), audio[500:-500].astype(float)).max()
    energy = np.linalg.norm(decoded.astype(float)) * np.linalg.norm(audio[500:-500].astype(float))
    assert correlation / energy > 0.96


def test_damaged_and_missing_audio_say_which(tmp_path):
    flac = as_file(tone(1.0), format="FLAC")
    torn = bytearray(flac)
    torn[len(torn) // 2] ^= 0xFF
    for content in (b"", b"no audio at all", flac[:60], flac[: len(flac) // 2], bytes(torn)):
        with pytest.raises(SkipError) as raised:
            decode_audio(content)
        assert raised.value.cause == Cause.UNREADABLE_AUDIO
    mp3 = as_file(tone(1.0), format="MP3")
    with pytest.raises(SkipError, match=r"\d+ of 16000 samples decode"):
        decode_audio(mp3[: len(mp3) // 2])
    with pytest.raises(SkipError) as raised:
        decode_audio(tmp_path / "absent.flac")
    assert raised.value.cause == Cause.MISSING_AUDIO


@pytest.mark.parametrize(
    ("audio", "text", "cause"),
    [
        (np.zeros(0, np.int16), "word", Cause.EMPTY_AUDIO),
        (np.zeros(RATE_HZ, np.int16), "word", Cause.SILENT),
        (np.full(RATE_HZ, -32768, np.int16), "word", Cause.CLIPPED),
        (tone(3.0), "word", Cause.TOO_LONG),
        (tone(1.0), "word " * 10, Cause.TOO_SHORT_FOR_TEXT),
    ],
)
def test_limits(audio, text, cause):
    with pytest.raises(SkipError) as raised:
        Limits(max_duration_s=2.0).check(audio, text)
    assert raised.value.cause == cause
    Limits(max_duration_s=2.0).check(tone(1.9), "a word or two")
