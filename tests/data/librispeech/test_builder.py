import json

import numpy as np
import pytest
import soundfile

from data.librispeech.builder import LibriSpeech
from data.librispeech.folder import FolderSource
from data.librispeech.tfds_source import TfdsSource, convert, split_name
from data.skips import Cause, SkipReport
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus
from tests.data.conftest import RATE_HZ, tone, write_chapter


def builder(folder, data_dir, **options):
    return LibriSpeech(data_dir=data_dir, source=FolderSource(folder), workers=1, **options)


def test_what_is_read_is_what_lies_in_the_folder(miniature, tmp_path):
    builder(miniature, tmp_path / "corpora").prepare()
    read = {}
    for split in ("train", "validation", "test"):
        corpus = open_corpus(tmp_path / "corpora", "librispeech/by_speaker", split)
        assert not read.keys() & set(corpus.ids)
        read |= {utterance.id: utterance for utterance in corpus}
    assert len(read) == 12
    for path in miniature.glob("*/*/*.flac"):
        audio, _ = soundfile.read(path, dtype="int16")
        np.testing.assert_array_equal(read[path.stem].audio, audio)
        assert read[path.stem].speaker == path.parent.parent.name
        assert read[path.stem].text in ("it's so", *(f"speaker {x} speaks" for x in "abcdef"))


def test_every_defect_is_counted(miniature, tmp_path):
    chapter = write_chapter(
        miniature, "84", "7", ["FINE", "", "[NOISE]", "TORN", "GONE", "WORDS " * 30]
    )
    names = [f"84-7-{n:04d}" for n in range(8)]
    flac = chapter / f"{names[3]}.flac"
    flac.write_bytes(flac.read_bytes()[:100])
    (chapter / f"{names[4]}.flac").unlink()
    soundfile.write(chapter / f"{names[6]}.wav", tone(1.0), RATE_HZ)  # has no transcript
    soundfile.write(chapter / f"{names[7]}.wav", np.zeros(0, np.int16), RATE_HZ)
    with (chapter / "84-7.trans.txt").open("a") as transcripts:
        transcripts.write(f"{names[7]} NOTHING SAID\n")

    directory = builder(miniature, tmp_path / "corpora").prepare()
    expected = {
        names[1]: Cause.EMPTY_TEXT,
        names[2]: Cause.ODD_CHARACTERS,
        names[3]: Cause.UNREADABLE_AUDIO,
        names[4]: Cause.MISSING_AUDIO,
        names[5]: Cause.TOO_SHORT_FOR_TEXT,
        names[6]: Cause.UNTRANSCRIBED,
        names[7]: Cause.EMPTY_AUDIO,
    }
    report = SkipReport.load(directory / "skip_report.json")
    assert {skip.id: skip.cause for skip in report.skips} == expected
    assert sum(count.utterances for count in report.kept.values()) == 13
    saved = json.loads((directory / "skip_report.json").read_text())
    assert saved["counts"] == {cause: 1 for cause in expected.values()}


def test_own_subsets(tmp_path):
    folder, speakers = tmp_path / "LibriSpeech", iter(range(1, 9))
    for subset in ("train-clean-100", "dev-clean", "dev-other", "test-clean"):
        write_chapter(folder / subset, str(next(speakers)), "1", ["HELLO THERE"])
    made = builder(folder, tmp_path / "corpora", config="clean_100")
    with pytest.raises(CorpusError, match=r"test-other is not a folder"):
        made.prepare()
    assert not list((tmp_path / "corpora/librispeech/clean_100").glob("*/features.json"))

    write_chapter(folder / "test-other", "9", "1", ["HELLO THERE"])
    builder(folder, tmp_path / "corpora", config="clean_100").prepare()
    splits = ("train", "validation", "validation_other", "test", "test_other")
    corpora = [open_corpus(tmp_path / "corpora", "librispeech/clean_100", s) for s in splits]
    assert [corpus.speakers for corpus in corpora] == [["1"], ["2"], ["3"], ["4"], ["9"]]


def test_speakers_cannot_be_named_for_own_subsets(miniature, tmp_path):
    made = builder(miniature, tmp_path / "corpora", config="full_960", test_speakers=["19"])
    with pytest.raises(CorpusError, match="only be named for librispeech/by_speaker"):
        made.prepare()


def test_folders_by_name_lie_beside_each_other(miniature, tmp_path):
    everybody = {"test_speakers": ["none"], "validation_speakers": ["none"]}
    directory = builder(miniature, tmp_path / "corpora", name="readers", **everybody).prepare()
    builder(miniature, tmp_path / "corpora").prepare()
    assert len(open_corpus(tmp_path / "corpora", "librispeech/readers", "train")) == 12
    assert sorted(p.name for p in directory.glob("index-*")) == ["index-train.jsonl"]
    with pytest.raises(CorpusError, match="only by_speaker takes a name"):
        builder(miniature, tmp_path / "corpora", config="clean_100", name="mine")


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "music" / "album").mkdir(parents=True)
    (tmp_path / "music" / "album" / "song.flac").touch()
    with pytest.raises(CorpusError, match="not in LibriSpeech's layout"):
        FolderSource(tmp_path / "music").recordings(None, SkipReport())


def test_tfds_without_tensorflow_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    source = TfdsSource(tmp_path)
    with pytest.raises(CorpusError, match="needs TensorFlow"):
        list(source.recordings("dev-clean", SkipReport()))
    with pytest.raises(CorpusError, match="name a folder of speakers"):
        list(source.recordings(None, SkipReport()))


def test_tfds_examples_become_recordings():
    example = {"id": b"1-2-3", "text": b"IT'S SO", "speaker_id": 1, "speech": tone(0.5).astype(int)}
    report = SkipReport()
    (recording,) = convert([example, example | {"id": b"1-2-4", "text": b""}], report)
    assert (recording.id, recording.speaker, recording.text) == ("1-2-3", "1", "it's so")
    np.testing.assert_array_equal(recording.decode(), tone(0.5))
    assert report.counts() == {Cause.EMPTY_TEXT: 1}
    assert split_name("train-clean-100") == "train_clean100"
    assert split_name("test-other") == "test_other"
