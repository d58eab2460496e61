import importlib.util
import shutil

import numpy as np
import pytest

from data.synthetic_speech.voices import VOICES, VoiceError, kokoro, load_voice, named_voices
from data.synthetic_speech.voices.accents import ACCENTS, with_accent
from data.synthetic_speech.voices.base import check_model
from data.synthetic_speech.voices.command import run_to_wav

SENTENCE = "please enter your number now, followed by the pound key."
INSTALLED = ["hibari_us", "hibari_gb", "pico_us", "pico_gb"]
INSTALLED += [name for name in VOICES if name.startswith("flite") and shutil.which("flite")]
INSTALLED += [name for name in VOICES if name.startswith("espeak") and shutil.which("espeak-ng")]
if importlib.util.find_spec(kokoro.MODEL_PARTS[0]) and shutil.which("espeak-ng"):
    INSTALLED += ["kokoro_af_heart", "kokoro_bf_emma", "french_kokoro_bf_emma"]


def say(name, spoken=SENTENCE, speed=1.0, pitch=1.0, seed=0):
    return load_voice(name).synthesize(spoken, speed=speed, pitch=pitch, seed=seed)


def fundamental_hz(audio, rate_hz):
    """Median over loud 40 ms frames of the autocorrelation's highest peak from 60 to 400 Hz."""
    found = []
    size = rate_hz // 25
    for start in range(0, len(audio) - size, size // 4):
        frame = audio[start : start + size] - audio[start : start + size].mean()
        if np.mean(frame**2) < 0.5 * np.mean(audio**2):
            continue
        correlation = np.correlate(frame, frame, "full")[size - 1 :]
        lag = rate_hz // 400 + np.argmax(correlation[rate_hz // 400 : rate_hz // 60])
        if correlation[lag] > 0.5 * correlation[0]:
            found.append(rate_hz / lag)
    return np.median(found)


@pytest.mark.parametrize("name", INSTALLED)
def test_a_voice_says_the_same_samples_whatever_was_said_before(name):
    first = say(name)
    assert first.dtype == np.float32
    assert np.max(np.abs(first)) < 1.0
    for size in (3_000, 3_000_000):  # what the allocator hands out next is not zero
        np.full(size, 0x5A, np.uint8)
        say(name, "something else.")
        np.testing.assert_array_equal(say(name), first)


@pytest.mark.parametrize("name", INSTALLED)
def test_speed_and_pitch_are_relative_to_the_voice(name):
    rate_hz = load_voice(name).sample_rate_hz
    plain = say(name)
    assert len(say(name, speed=1.4)) / len(plain) == pytest.approx(1 / 1.4, rel=0.12)
    own = fundamental_hz(plain, rate_hz)
    for pitch in (0.8, 1.25):
        changed = fundamental_hz(say(name, pitch=pitch), rate_hz)
        assert changed / own == pytest.approx(pitch, rel=0.08)


@pytest.mark.parametrize("name", INSTALLED)
def test_it_takes_about_as_long_as_expected(name):
    seconds = len(say(name)) / load_voice(name).sample_rate_hz
    expected = VOICES[name].expected_duration_s(SENTENCE.rstrip(".").replace(",", ""), 1.0)
    assert 0.6 * expected < seconds < 1.7 * expected + 0.6  # with the voice's own silence


@pytest.mark.parametrize("name", ["hibari_us", "hibari_gb", "pico_us", "pico_gb"])
def test_a_lone_capital_is_the_name_of_the_letter(name):
    np.testing.assert_array_equal(say(name, "press A now"), say(name, "press eh now"))
    assert not np.array_equal(say(name, "press a now"), say(name, "press eh now"))
    np.testing.assert_array_equal(say(name, "Z"), say(name, "zee"))


def test_punctuation_alone_says_nothing():
    assert not np.any(np.abs(say("pico_us", "...")) > 0.01)
    assert len(say("hibari_us", " ")) == 0


def test_an_unknown_voice_is_refused():
    with pytest.raises(VoiceError, match="no voice 'nobody'; there are hibari_us"):
        load_voice("nobody")


@pytest.mark.parametrize(("name", "package"), [("flite_slt", "flite"), ("espeak_us", "espeak-ng")])
def test_a_voice_whose_command_is_missing_says_what_to_install(name, package, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(VoiceError, match=f"apt install {package}"):
        VOICES[name].load()


def test_a_failing_command_is_not_silent():
    with pytest.raises(VoiceError, match=r"sh -c echo broken .* failed: broken"):
        run_to_wav(["sh", "-c", "echo broken >&2; exit 3"], "hello")


def test_another_model_than_the_pinned_one_is_refused(tmp_path):
    model = tmp_path / "voice.onnx"
    with pytest.raises(VoiceError, match="missing"):
        check_model(model, "0" * 64)
    model.write_bytes(b"other")
    with pytest.raises(VoiceError, match="expected 0000"):
        check_model(model, "0" * 64)


def test_phonemes_become_the_symbols_that_kokoro_was_taught():
    for said, british, symbols in (
        ("ðə tʃˈeɪndʒ ʌv bˈɛɾɚ ɹˈoʊdz", False, "ðə ʧˈAnʤ ʌv bˈɛTəɹ ɹˈOdz"),
        ("nˈɜːs bˈaɪ ðə wˈɔːɾɚ", False, "nˈɜɹs bˈI ðə wˈɔTəɹ"),
        ("ɹˈəʊdz kˈeə jˈiə hˈaʊs", True, "ɹˈQdz kˈɛː jˈɪə hˈWs"),
    ):
        assert kokoro.from_espeak(said, british) == symbols
    numbers = kokoro._SYMBOLS
    assert [numbers[s] for s in ";? AIOQSTWYahzæçʤəɡŋθɹɾʃʧʊʌʒʔˈˌːᵻ"] == [
        1, 6, 16, 24, 25, 31, 33, 35, 36, 39, 41, 43, 50, 68, 72, 78, 82, 83, 92, 112, 119, 123,
        125, 131, 133, 135, 138, 147, 148, 156, 157, 158, 177,
    ]  # fmt: skip


def test_an_accent_substitutes_phonemes_in_order_and_at_the_ends_of_words():
    said = "θɹˈi sˈɛvən fˈIv, hi wʊdhəv ʤˈʌmpt"
    assert with_accent(said, "french") == "sʁˈi sˈɛvən fˈIv, i wʊdəv ʒˈœmpt"
    assert with_accent(said, "german") == "sʁˈi zˈɛvən fˈIf, hi vʊdhəf ʧˈʌmpt"
    assert with_accent(said, "spanish") == "tɾˈi sˈɛbən fˈIb, xi wʊdxəb jˈampt"


def test_every_accent_stays_within_the_symbols_that_kokoro_knows():
    known = "".join(kokoro._SYMBOLS)
    for accent in ACCENTS:
        changed = with_accent(known, accent)
        assert changed != known, accent
        assert set(changed) <= set(known), accent


def test_each_of_kokoros_voices_has_each_accent():
    assert len(named_voices(["*_kokoro_*"])) == 28 * len(ACCENTS)
    assert VOICES["hindi_kokoro_bm_lewis"].load.args == ("bm_lewis", "hindi")


def test_what_kokoro_lacks_is_named(monkeypatch, tmp_path):
    kokoro._session.cache_clear()
    kokoro._archive.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(VoiceError, match=r"model_1\); `pip install '\.\[kokoro\]'` in"):
        kokoro._session()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(VoiceError, match=r"npm is not installed.* put kokoro-js-1\.2\.1\.tgz"):
        kokoro._archive()
    folder = tmp_path / "rnnt_qat" / "voices"
    folder.mkdir(parents=True)
    (folder / kokoro.ARCHIVE).write_bytes(b"another version")
    with pytest.raises(VoiceError, match="it is another version or damaged; delete it"):
        kokoro._archive()


def test_a_pattern_names_each_of_its_voices_and_a_wrong_name_stays_for_the_error():
    assert named_voices(["pico_us", "kokoro_bm_*", "pico_us", "nobody"]) == (
        "pico_us",
        *(f"kokoro_bm_{name}" for name in ("daniel", "fable", "george", "lewis")),
        "pico_us",
        "nobody",
    )
    assert len(named_voices(["kokoro_*"])) == 28
