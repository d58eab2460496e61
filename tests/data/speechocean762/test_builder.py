import json

import pytest
import soundfile

from data.skips import Cause
from data.speechocean762.builder import SpeechOcean762
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus
from tests.data.conftest import RATE_HZ, tone, write_chapter

TEXTS = {
    "train": {"0001": ["WE CALL IT BEAR", "ONE TWO"], "0002": ["IT'S SO"], "0003": ["FINE  DAY"]},
    "test": {"0004": ["THREE OH NINE", "WE WALK"], "0005": ["GO"]},
}


def write_kaldi(folder):
    """As openslr 101 unpacks."""
    for part, speakers in TEXTS.items():
        rows = [
            (f"{speaker}{number:05d}", f"WAVE/SPEAKER{speaker}/{speaker}{number:05d}.WAV", text)
            for speaker, texts in speakers.items()
            for number, text in enumerate(texts)
        ]
        for speaker in speakers:
            (folder / "WAVE" / f"SPEAKER{speaker}").mkdir(parents=True)
        for number, (_, path, _) in enumerate(rows):
            soundfile.write(folder / path, tone(1.0 + 0.1 * number), RATE_HZ, format="WAV")
        lists = {
            "wav.scp": [f"{name}\t{path}" for name, path, _ in rows],
            "text": [f"{name}\t{text}" for name, _, text in rows],
            "utt2spk": [f"{name}\t{name[:4]}" for name, _, _ in rows],
        }
        (folder / part).mkdir()
        for name, lines in lists.items():
            (folder / part / name).write_text("\n".join(lines) + "\n")
    return folder


def write_like_librispeech(folder):
    for part, speakers in TEXTS.items():
        for speaker, texts in speakers.items():
            write_chapter(folder / part, speaker, "1", texts)
    return folder


def builder(folder, tmp_path, **options):
    return SpeechOcean762(data_dir=tmp_path / "corpora", folder=folder, workers=1, **options)


@pytest.mark.parametrize("write", [write_kaldi, write_like_librispeech])
def test_both_layouts_give_the_same_splits(write, tmp_path):
    builder(write(tmp_path / "corpus"), tmp_path, validation_speakers=["0002"]).prepare()
    read = {
        split: open_corpus(tmp_path / "corpora", "speechocean762", split)
        for split in ("train", "train_digits", "validation", "test", "test_digits")
    }
    texts = {split: sorted(corpus.texts) for split, corpus in read.items()}
    assert texts == {
        "train": ["fine day", "one two", "we call it bear"],
        "train_digits": ["one two"],
        "validation": ["it's so"],
        "test": ["go", "three oh nine", "we walk"],
        "test_digits": ["three oh nine"],
    }
    assert set(read["train"].speakers) <= {"0001", "0003"}
    assert set(read["test"].speakers) == {"0004", "0005"}
    assert len(read["test_digits"][0].audio) >= RATE_HZ


def test_validation_is_drawn_from_train_alone(tmp_path):
    builder(write_kaldi(tmp_path / "corpus"), tmp_path).prepare()
    speakers = {
        split: set(open_corpus(tmp_path / "corpora", "speechocean762", split).speakers)
        for split in ("train", "validation", "test")
    }
    assert len(speakers["validation"]) == 1
    assert speakers["train"] | speakers["validation"] == {"0001", "0002", "0003"}
    assert speakers["test"] == {"0004", "0005"}


def test_what_the_lists_lack_is_counted(tmp_path):
    folder = write_kaldi(tmp_path / "corpus")
    with (folder / "train" / "text").open("a") as texts:
        texts.write("000199999\tNOTHING SAID\n")
    (folder / "WAVE" / "SPEAKER0003" / "000300000.WAV").unlink()
    directory = builder(folder, tmp_path, validation_speakers=["0002"]).prepare()
    skipped = json.loads((directory / "skip_report.json").read_text())["skipped"]
    assert {skip["id"]: skip["cause"] for skip in skipped} == {
        "000199999": Cause.MISSING_AUDIO,
        "000300000": Cause.MISSING_AUDIO,
    }


def test_a_speaker_in_both_parts_is_refused(tmp_path):
    folder = write_like_librispeech(tmp_path / "corpus")
    write_chapter(folder / "test", "0001", "2", ["AGAIN"])
    with pytest.raises(CorpusError, match="speakers in train and test: 0001"):
        builder(folder, tmp_path).prepare()


def test_a_list_that_is_missing_is_named(tmp_path):
    folder = write_kaldi(tmp_path / "corpus")
    (folder / "test" / "utt2spk").unlink()
    with pytest.raises(CorpusError, match="utt2spk is missing"):
        builder(folder, tmp_path).prepare()
