import pytest

from data.encoding import Recording
from data.speaker_splits import split_recordings, split_speakers
from rnnt_qat.input_pipeline.corpus import CorpusError


def test_no_speaker_straddles_and_splits_depend_on_names_only():
    names = {str(n) for n in range(15)}
    split_of = split_speakers(names)
    assert split_of == split_speakers(set(sorted(names, reverse=True)))
    counts = [list(split_of.values()).count(s) for s in ("train", "validation", "test")]
    assert counts == [11, 1, 3]
    named = split_speakers(names, test=["3", "4"], validation=["5"])
    assert [name for name, split in named.items() if split == "test"] == ["3", "4"]
    assert named["5"] == "validation"


@pytest.mark.parametrize(
    ("speakers", "options", "message"),
    [
        ({"a", "b", "c"}, {"test": ["z"]}, r"not in the folder: \['z'\]"),
        ({"a", "b", "c"}, {"test": ["a"], "validation": ["a"]}, r"test: \['a'\]"),
        ({"a", "b"}, {}, "too few"),
    ],
)
def test_impossible_splits(speakers, options, message):
    with pytest.raises(CorpusError, match=message):
        split_speakers(speakers, **options)


def test_nobody_is_tested_where_none_is_named():
    assert split_speakers({"lj"}, test=["none"], validation=["none"]) == {"lj": "train"}
    split_of = split_speakers({"a", "b", "c"}, test=["a"], validation=["none"])
    assert split_of == {"a": "test", "b": "train", "c": "train"}


@pytest.mark.parametrize("speakers", [["me"], ["me", "you"]])
def test_few_speakers_are_split_by_recording_with_a_warning(speakers, capsys):
    recordings = [
        Recording(id=f"{number}", speaker=speakers[number % len(speakers)], text="", decode=None)
        for number in range(30)
    ]
    splits = split_recordings(recordings)
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 22,
        "validation": 2,
        "test": 6,
    }
    assert sorted(r.id for part in splits.values() for r in part) == sorted(
        r.id for r in recordings
    )
    assert splits == split_recordings(recordings[::-1])
    assert "voices heard in training" in capsys.readouterr().err
    with pytest.raises(CorpusError, match="too few"):
        split_recordings(recordings[:2])
