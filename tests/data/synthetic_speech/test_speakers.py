import itertools

import pytest

from data.synthetic_speech.speakers import FORMANT_GRID, SpeakersConfig, make_speakers


def test_every_voice_speaks_in_every_split_and_every_speaker_in_one():
    config = SpeakersConfig(train=5, validation=2, test=3)
    speakers = make_speakers(("pico_us", "hibari_us"), config, seed=0)
    assert {split: len(found) for split, found in speakers.items()} == {
        "train": 10,
        "validation": 4,
        "test": 6,
    }
    names = [speaker.name for found in speakers.values() for speaker in found]
    assert len(set(names)) == len(names)
    for found in speakers.values():
        assert {speaker.voice for speaker in found} == {"pico_us", "hibari_us"}


def test_speakers_cover_their_ranges_evenly():
    config = SpeakersConfig(train=16, validation=2, test=2)
    found = [s for group in make_speakers(("pico_us",), config, 1).values() for s in group]
    formants = [speaker.formant_steps / FORMANT_GRID for speaker in found]
    for values, (low, high) in (
        ([s.speed for s in found], config.speed),
        ([s.pitch for s in found], config.pitch),
    ):
        edges = [low * (high / low) ** (i / 20) for i in range(21)]
        per_bin = [
            sum(a - 1e-3 <= v <= b + 1e-3 for v in values) for a, b in itertools.pairwise(edges)
        ]
        assert min(per_bin) >= 1
    assert min(formants) == pytest.approx(config.formant[0], abs=0.03)
    assert max(formants) == pytest.approx(config.formant[1], abs=0.03)


def test_a_voice_keeps_its_speakers_whatever_others_there_are():
    config = SpeakersConfig()
    alone = make_speakers(("pico_us",), config, 0)
    beside = make_speakers(("hibari_us", "pico_us"), config, 0)
    for split, found in alone.items():
        assert found == [s for s in beside[split] if s.voice == "pico_us"]
    assert make_speakers(("pico_us",), config, 1) != alone
