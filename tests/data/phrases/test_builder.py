import pytest
import soundfile

from data.phrases.builder import Phrases
from data.skips import Cause, SkipReport
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus
from tests.data.conftest import RATE_HZ, tone


def write(folder, names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(0.5 + 0.01 * number), RATE_HZ)
    return folder


def prepared(tmp_path, folder, **options):
    directory = Phrases(
        data_dir=tmp_path, folder=folder, name="mine", workers=1, **options
    ).prepare()
    splits = ("train", "validation", "test")
    return directory, [open_corpus(tmp_path, "phrases/mine", split) for split in splits]


def speech_commands(tmp_path):
    """Three speakers, two commands, noise."""
    names = [
        f"{word}/{who}_nohash_{n}.wav" for word in ("yes", "no") for who in "abc" for n in (0, 1)
    ]
    return write(tmp_path / "commands", [*names, "_background_noise_/dishes.wav"])


def test_lists_of_speech_commands(tmp_path):
    folder = speech_commands(tmp_path)
    (folder / "validation_list.txt").write_text(
        "".join(f"{word}/a_nohash_{n}.wav\n" for word in ("yes", "no") for n in (0, 1))
    )
    (folder / "testing_list.txt").write_text(
        "".join(f"{word}/c_nohash_{n}.wav\n" for word in ("yes", "no") for n in (0, 1))
    )
    _, (train, validation, test) = prepared(tmp_path, folder)
    assert (set(train.speakers), set(validation.speakers), set(test.speakers)) == (
        {"b"},
        {"a"},
        {"c"},
    )
    assert set(train.texts) == set(test.texts) == {"yes", "no"}
    assert "yes/b_nohash_1" in train.ids

    with pytest.raises(CorpusError, match="has lists of its splits"):
        Phrases(data_dir=tmp_path / "b", folder=folder, workers=1, test_speakers=["b"]).prepare()
    (folder / "testing_list.txt").write_text("yes/a_nohash_1.wav\n")
    (folder / "validation_list.txt").write_text("yes/a_nohash_0.wav\nno/c_nohash_0.wav\n")
    with pytest.raises(CorpusError, match="put speakers into two splits: a, c"):
        Phrases(data_dir=tmp_path / "c", folder=folder, workers=1).prepare()


def test_speakers_of_file_names(tmp_path):
    _, (train, validation, test) = prepared(tmp_path, speech_commands(tmp_path))
    speakers = [set(corpus.speakers) for corpus in (train, validation, test)]
    assert set.union(*speakers) == {"a", "b", "c"}
    assert all(len(s) == 1 for s in speakers)


def test_unknown_speakers_are_split_by_runs_of_names(tmp_path, capsys):
    names = [f"smart_mirror/{n:03d}.wav" for n in range(20)] + ["007/0.wav"]
    directory, (train, validation, test) = prepared(tmp_path, write(tmp_path / "wake", names))
    assert sorted(train.ids) == [f"smart_mirror/{n:03d}" for n in range(15)]
    assert sorted(validation.ids) == ["smart_mirror/015", "smart_mirror/016"]
    assert sorted(test.ids) == ["smart_mirror/017", "smart_mirror/018", "smart_mirror/019"]
    assert set(train.texts) == {"smart mirror"}
    assert "a speaker may be in two splits" in capsys.readouterr().out
    report = SkipReport.load(directory / "skip_report.json")
    assert [(s.id, s.cause) for s in report.skips] == [("007/0", Cause.AMBIGUOUS_NUMBER)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "is not a folder"),
        (["song.wav"], "holds no <phrase>"),
        (["yes/a_nohash_0.wav", "yes/b.wav"], "1 of 2 recordings are not called"),
    ],
)
def test_what_is_no_folder_of_phrases(names, message, tmp_path):
    with pytest.raises(CorpusError, match=message):
        Phrases(data_dir=tmp_path, folder=write(tmp_path / "folder", names), workers=1).prepare()


def test_a_name_that_is_none(tmp_path):
    with pytest.raises(CorpusError, match="is no name"):
        Phrases(data_dir=tmp_path, folder=tmp_path, name="../wake")
