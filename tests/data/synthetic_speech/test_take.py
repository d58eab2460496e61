import dataclasses
import pickle

import numpy as np
import pytest
import soundfile

from data.skips import Cause, SkipError
from data.synthetic_speech import take as take_module
from data.synthetic_speech.sentences import Sentence
from data.synthetic_speech.speakers import PseudoSpeaker
from data.synthetic_speech.take import AcousticsConfig, CachedTake, Take, trim_silence

SPEAKER = PseudoSpeaker("pico_us_00", "pico_us", 1.0, 1.0, 40)
QUIET = AcousticsConfig(
    speed_jitter=0.0,
    pitch_jitter=0.0,
    silence_s=(0.1, 0.1),
    room_probability=0.0,
    noise_probability=0.0,
    telephone_probability=0.0,
    level_db=(-23.0, -23.0),
)


def make(spoken="please hold", speaker=SPEAKER, acoustics=QUIET, seed=0):
    return Take(Sentence.from_spoken(spoken), speaker, acoustics, "pico_us", seed)


class FakeVoice:
    sample_rate_hz = 16_000

    def __init__(self, audio):
        self.audio = np.asarray(audio, np.float32)

    def synthesize(self, spoken, *, speed, pitch, seed):
        return self.audio


def test_a_take_is_the_same_every_time_and_changes_with_any_field():
    take = make(acoustics=AcousticsConfig())
    np.testing.assert_array_equal(take.render(), pickle.loads(pickle.dumps(take)).render())
    others = [
        make("please wait", acoustics=AcousticsConfig()),
        make(acoustics=AcousticsConfig(), seed=1),
        make(acoustics=AcousticsConfig(silence_s=(0.0, 0.1))),
        make(acoustics=AcousticsConfig(), speaker=dataclasses.replace(SPEAKER, pitch=1.1)),
        dataclasses.replace(take, babble_voice="pico_gb"),
    ]
    assert len({take.key, *(other.key for other in others)}) == 6


def test_level_and_silence_are_the_ones_asked_for():
    audio = make().render().astype(np.float64) / 32767
    assert not audio[:1600].any()
    assert not audio[-1600:].any()
    speech = audio[1600:-1600]
    assert 10 * np.log10(np.mean(speech**2)) == pytest.approx(-23.0, abs=0.05)


def test_a_loud_take_is_not_clipped():
    loud = dataclasses.replace(QUIET, level_db=(0.0, 0.0))
    assert np.abs(make(acoustics=loud).render().astype(int)).max() == round(0.97 * 32767)


def test_formants_move_and_rate_stays():
    """A longer vocal tract: the spectrum's centre falls by the warp, the length stays."""

    def centre_hz(audio):
        power = np.abs(np.fft.rfft(audio.astype(np.float64))) ** 2
        return np.sum(power * np.fft.rfftfreq(len(audio), 1 / 16_000)) / np.sum(power)

    sentence = "she sees six seas, and they say so"
    plain = make(sentence).render()
    longer = make(sentence, dataclasses.replace(SPEAKER, formant_steps=35)).render()
    assert len(longer) / len(plain) == pytest.approx(1.0, abs=0.06)
    assert centre_hz(longer) < 0.95 * centre_hz(plain)


@pytest.mark.parametrize(
    ("audio", "cause"),
    [
        ([], Cause.EMPTY_AUDIO),
        (np.zeros(16_000), Cause.EMPTY_AUDIO),
        (np.full(16_000, np.nan), Cause.UNREADABLE_AUDIO),
        (np.sin(np.arange(1600)), Cause.TOO_SHORT_FOR_TEXT),
        (np.sin(np.arange(160_000)), Cause.TOO_LONG),
    ],
)
def test_what_a_synthesizer_gets_wrong_is_left_out_by_cause(audio, cause, monkeypatch, tmp_path):
    monkeypatch.setattr(take_module, "load_voice", lambda name: FakeVoice(audio))
    with pytest.raises(SkipError) as caught:
        CachedTake(make(), tmp_path)()
    assert caught.value.cause == cause
    assert "pico_us" in caught.value.detail
    assert not list(tmp_path.rglob("*.flac"))


def test_what_a_pause_separates_is_spoken_on_its_own_with_silence_between(monkeypatch):
    asked = []

    class Recorded(FakeVoice):
        def synthesize(self, spoken, *, speed, pitch, seed):
            asked.append(spoken)
            return self.audio

    tone = np.sin(np.arange(6400)).astype(np.float32)
    monkeypatch.setattr(take_module, "load_voice", lambda name: Recorded(tone))
    audio = make("one / two / three").render()
    assert asked == ["one", "two", "three"]
    assert make("one / two / three").sentence.text == "one two three"
    silent = np.flatnonzero(np.abs(audio) < 1)
    runs = np.split(silent, np.flatnonzero(np.diff(silent) > 1) + 1)
    pauses = [len(run) / 16_000 for run in runs if len(run) > 100 and run[0] > 1600]
    first, second, end = pauses
    assert first != second
    low, high = take_module.PAUSE_S
    assert low <= min(first, second) < max(first, second) <= high + 1e-3
    assert end == pytest.approx(0.1, abs=0.01)
    spoken = len(audio) - 16_000 * sum(pauses) - 1600
    assert spoken == pytest.approx(3 * len(tone), abs=500)


def test_silence_around_speech_is_cut_and_inside_is_kept():
    tone = np.sin(np.arange(1600) * 0.3).astype(np.float32)
    quiet = np.zeros(3200, np.float32)
    audio = np.concatenate([quiet, tone, quiet, tone, quiet])
    np.testing.assert_array_equal(trim_silence(audio), audio[3200:-3200])
    assert len(trim_silence(np.zeros(50, np.float32))) == 0


def test_a_kept_take_is_read_and_not_made_again(tmp_path, monkeypatch):
    take = make()
    first = CachedTake(take, tmp_path)()
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path == tmp_path / take.key[:2] / f"{take.key}.flac"
    monkeypatch.setattr(Take, "render", lambda self: pytest.fail("rendered again"))
    np.testing.assert_array_equal(CachedTake(take, tmp_path)(), first)


def test_an_interrupted_write_leaves_nothing_under_the_key(tmp_path, monkeypatch):
    def interrupted(file, *args, **options):
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(soundfile, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            CachedTake(make(), tmp_path)()
    assert not list(tmp_path.rglob("*.flac"))
    assert len(CachedTake(make(), tmp_path)()) > 0
