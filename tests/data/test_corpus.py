import io
import json
import re

import numpy as np
import pytest

from data.audio import Limits
from data.librispeech.builder import LibriSpeech
from data.librispeech.folder import FolderSource
from rnnt_qat.infra import progress
from rnnt_qat.infra.console import Console
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus


def builder(folder, data_dir, **options):
    options = {"workers": 1} | options
    return LibriSpeech(data_dir=data_dir, source=FolderSource(folder), **options)


@pytest.mark.slow
def test_processes_make_what_one_makes(miniature, tmp_path):
    one = builder(miniature, tmp_path / "one").prepare()
    two = builder(miniature, tmp_path / "two", workers=2).prepare()
    for name in ("index-train.jsonl", "index-test.jsonl", "skip_report.json", "preparation.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    for data_dir in ("one", "two"):
        corpus = open_corpus(tmp_path / data_dir, "librispeech/by_speaker", "train")
        np.testing.assert_array_equal(corpus.num_samples, [len(u.audio) for u in corpus])


def test_a_prepared_corpus_is_reused_wherever_its_sources_lie(miniature, tmp_path, capsys):
    directory = builder(miniature, tmp_path / "corpora").prepare()
    table = capsys.readouterr().out.split("\n", 1)[1]
    written = (directory / "preparation.json").stat().st_mtime_ns
    moved = miniature.rename(tmp_path / "moved")
    assert builder(moved, tmp_path / "corpora").prepare() == directory
    assert (directory / "preparation.json").stat().st_mtime_ns == written
    assert capsys.readouterr().out == f"{directory}: prepared already, reused\n{table}"


def test_every_step_is_shown_in_lines(miniature, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    made, shown = builder(miniature, tmp_path / "corpora"), io.StringIO()
    monkeypatch.setattr(made, "_console", Console(shown, period_seconds=0.0))
    made.prepare()
    assert "\r" not in shown.getvalue()
    lines = shown.getvalue().splitlines()
    for step in ("checking sources", "listing recordings", "writing train", "indexing train"):
        assert any(line.startswith(f"librispeech/by_speaker: {step}: ") for line in lines), step
    counted = r"librispeech/by_speaker: encoding train: 1 of \d+ recordings \(\d+%\)"
    counted = re.compile(counted + r", 0\.00 h of audio, [\d,]+ h an hour")
    assert any(map(counted.fullmatch, lines)), lines
    encoded = re.compile(r"train: encoded 0\.00 h of audio, [\d,]+ h an hour, processes: 1")
    assert any(map(encoded.fullmatch, lines)), lines


def test_other_sources_or_limits_are_not_mixed_up(miniature, tmp_path):
    builder(miniature, tmp_path / "corpora").prepare()
    with pytest.raises(CorpusError, match="delete it or choose another --data_dir"):
        builder(miniature, tmp_path / "corpora", limits=Limits(max_duration_s=9)).prepare()
    next(miniature.glob("*/*/*.flac")).unlink()
    with pytest.raises(CorpusError, match="delete it or choose another --data_dir"):
        builder(miniature, tmp_path / "corpora").prepare()


def test_an_interrupted_preparation_leaves_nothing_and_the_next_starts_clean(
    miniature, tmp_path, monkeypatch, capsys
):
    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("data.encoding._encode", interrupt)
        with pytest.raises(KeyboardInterrupt):
            builder(miniature, tmp_path / "corpora").prepare()
    parent = tmp_path / "corpora" / "librispeech" / "by_speaker"
    with pytest.raises(CorpusError, match="no prepared corpus"):
        open_corpus(tmp_path / "corpora", "librispeech/by_speaker", "train")

    (parent / "incomplete.KILLED_1.0.0").mkdir()  # what kill -9 leaves
    directory = builder(miniature, tmp_path / "corpora").prepare()
    assert "left by an interrupted preparation, removed" in capsys.readouterr().out
    assert sorted(p.name for p in parent.iterdir()) == [".lock", directory.name]


def test_a_split_with_nothing_left_is_an_error_that_says_why(miniature, tmp_path):
    made = builder(miniature, tmp_path / "corpora", limits=Limits(max_duration_s=0.5))
    with pytest.raises(CorpusError, match=r"nothing is left for split 'train'(?s:.*)too long"):
        made.prepare()


def test_records_are_what_the_readme_says(miniature, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    directory = builder(miniature, tmp_path / "corpora").prepare()
    records = tfds.builder_from_directory(directory).as_data_source("train")
    index = [json.loads(line) for line in (directory / "index-train.jsonl").open()]
    for record, row in zip((records[i] for i in range(len(records))), index, strict=True):
        assert record.keys() == {"id", "speaker", "text", "audio", "duration_s"}
        assert record["id"].decode() == row["id"]
        assert record["duration_s"] == np.float32(row["num_samples"] / 16000)
        assert bytes(record["audio"][:4]) == b"fLaC"
