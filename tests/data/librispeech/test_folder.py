"""Folders as people have them: encodings, separators, hidden files, ids used twice."""

import codecs
import functools
import os

import numpy as np
import pytest
import soundfile

from data.languages import LANGUAGES
from data.librispeech.builder import LibriSpeech
from data.librispeech.folder import FolderSource
from data.skips import Cause, SkipReport
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus
from tests.data.conftest import RATE_HZ, tone, write_chapter


def listed(folder, **options):
    """Texts and causes by id."""
    report = SkipReport()
    texts = {r.id: r.text for r in FolderSource(folder, **options).recordings(None, report)}
    return texts, {skip.id: skip.cause for skip in report.skips}, report


def chapter(folder, transcripts: bytes, number: int, name: str = "1-2"):
    speaker, chapter = name.split("-")
    place = folder / speaker / chapter
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.trans.txt").write_bytes(transcripts)
    for i in range(number):
        soundfile.write(place / f"{name}-{i}.flac", tone(1.0), RATE_HZ)
    return place


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("HELLO\tTHERE", "hello there"),
        ("HELLO  THERE", "hello there"),
        ("HELLO\u00a0THERE", "hello there"),
        ("IT\u2019S \u2018FINE\u2019", "it's fine"),
        ("Café, déjà-vu!", "cafe deja vu"),
        ("so\u00adft zero\u200bwidth", "soft zero width"),
        ("two\u2028lines\x85", "two lines"),
        ("\u00abquoted\u00bb \u201elow\u201c", "quoted low"),
        ("cafe\u0301", "cafe"),
    ],
)
def test_what_is_normalised_and_that_it_is_counted(tmp_path, written, text):
    chapter(tmp_path, f"1-2-0\t{written}\r\n1-2-1 PLAIN\r\n".encode(), 2)
    texts, causes, report = listed(tmp_path)
    assert texts == {"1-2-0": text, "1-2-1": "plain"}
    assert causes == {}
    assert report.normalised == 1
    assert report.examples == [("1-2-0", written.strip(), text)]
    texts, causes, report = listed(tmp_path, normalising=False)
    assert texts == {"1-2-1": "plain"}
    assert causes == {"1-2-0": Cause.ODD_CHARACTERS}
    assert report.normalised == 0


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
def test_byte_order_marks(tmp_path, mark, encoding):
    chapter(tmp_path, mark + "1-2-0 DÉJÀ VU\n1-2-1 OTHER\n".encode(encoding), 2)
    assert listed(tmp_path)[:2] == ({"1-2-0": "deja vu", "1-2-1": "other"}, {})


def test_an_encoding_is_named_not_guessed(tmp_path):
    chapter(tmp_path, "1-2-0 DÉJÀ VU\n1-2-1 OTHER\n".encode("latin-1"), 2)
    texts, causes, report = listed(tmp_path)
    assert texts == {"1-2-1": "other"}
    assert causes == {"1-2-0": Cause.UNREADABLE_TEXT}
    assert "byte 0xc9 is not utf-8; name the encoding" in report.skips[0].detail
    assert listed(tmp_path, encoding="latin-1")[0] == {"1-2-0": "deja vu", "1-2-1": "other"}
    same = FolderSource(tmp_path).fingerprint()
    assert same == FolderSource(tmp_path, encoding="utf-8").fingerprint()
    assert same != FolderSource(tmp_path, encoding="latin-1").fingerprint()
    assert same != FolderSource(tmp_path, normalising=False).fingerprint()


def test_a_file_of_another_encoding_leaves_out_its_chapter_only(tmp_path):
    chapter(tmp_path, "1-2-0 HELLO\n".encode("utf-16-le"), 1)
    chapter(tmp_path, codecs.BOM_UTF16_LE + b"odd", 1, "3-4")
    chapter(tmp_path, b"5-6-0 HELLO\n", 1, "5-6")
    texts, causes, _ = listed(tmp_path)
    assert texts == {"5-6-0": "hello"}
    assert causes == {
        "2/1-2.trans.txt": Cause.UNREADABLE_TEXT,
        "1-2-0": Cause.UNTRANSCRIBED,
        "4/3-4.trans.txt": Cause.UNREADABLE_TEXT,
        "3-4-0": Cause.UNTRANSCRIBED,
    }


def test_hidden_files_second_files_and_names_of_other_encodings(tmp_path):
    place = chapter(tmp_path, b"1-2-0 HELLO\n1-2-1 TWICE\n1-2-1 SAID\n", 2)
    (place / "._1-2-0.flac").write_bytes(b"\0\5\x16\7")
    (place / "._1-2.trans.txt").write_bytes(b"\0\5\x16\7Mac OS X \xff")
    soundfile.write(place / "1-2-0.wav", tone(2.0), RATE_HZ)
    (place / os.fsdecode(b"caf\xe9.flac")).write_bytes(b"")
    texts, causes, report = listed(tmp_path)
    assert texts == {"1-2-0": "hello"}
    assert causes == {
        "._1-2-0.flac": Cause.HIDDEN_FILE,
        "._1-2.trans.txt": Cause.HIDDEN_FILE,
        "1-2-0": Cause.DUPLICATE_ID,
        "1-2-1": Cause.CONTRADICTION,
        "caf\\xe9.flac": Cause.BAD_NAME,
    }
    assert "1-2-0.wav beside 1-2-0.flac" in report.table()
    FolderSource(tmp_path).fingerprint()


def test_links_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "corpus" / "1").mkdir(parents=True)
    chapter(tmp_path / "elsewhere", b"1-2-0 HELLO\n", 1)
    (tmp_path / "corpus" / "1" / "2").symlink_to(tmp_path / "elsewhere" / "1" / "2")
    (tmp_path / "corpus" / "1" / "back").symlink_to(tmp_path / "corpus")
    assert listed(tmp_path / "corpus")[0] == {"1-2-0": "hello"}
    assert FolderSource(tmp_path / "corpus").fingerprint()["files"] == 2


@pytest.mark.parametrize(
    ("code", "written", "text"),
    [
        ("de", "Ärger über große Füße – naïv!", "ärger über große füße naiv"),
        ("de", "STRASSE, STRA\u1e9eE", "strasse straße"),
        ("ru", "Ёлка и моло\u0301ко; Йод?", "ёлка и молоко йод"),
        ("fr", "L\u2019Œuvre d\u2019été", "l'œuvre d'été"),
    ],
)
def test_other_alphabets(tmp_path, code, written, text):
    chapter(tmp_path, f"1-2-0 {written}\n1-2-1 {written} 1999\n".encode(), 2)
    texts, causes, _ = listed(tmp_path, language=LANGUAGES[code])
    assert texts == {"1-2-0": text}
    assert causes == {"1-2-1": Cause.AMBIGUOUS_NUMBER}


def test_an_id_in_two_chapters_is_kept_once_and_counted(miniature, tmp_path):
    for speaker in ("19", "26", "39"):
        place = write_chapter(miniature, speaker, "999", [])
        (place / "x.trans.txt").write_text("same-id HELLO\n")
        soundfile.write(place / "same-id.flac", tone(1.0, hz=300), RATE_HZ)
    builder = LibriSpeech(
        data_dir=tmp_path / "corpora",
        source=FolderSource(miniature),
        workers=1,
        test_speakers=["19", "26"],
        validation_speakers=["40"],
    )
    builder.prepare()
    (skip,) = builder.skip_report.skips
    assert (skip.id, skip.cause) == ("same-id", Cause.DUPLICATE_ID)
    open_all = functools.partial(open_corpus, tmp_path / "corpora", "librispeech/by_speaker")
    ids = [name for split in ("train", "validation", "test") for name in open_all(split).ids]
    assert ids.count("same-id") == 2  # one in each of two splits
    assert len(ids) == 14
    for split in ("train", "test"):
        corpus = open_all(split)
        assert corpus[corpus.ids.index("same-id")].duration_s == 1.0


@pytest.mark.parametrize("language", ["de", "ru"])
def test_a_prepared_corpus_carries_its_language(tmp_path, language):
    word = {"de": "größe", "ru": "ёлка"}[language]
    for speaker in ("1", "3", "5"):
        chapter(tmp_path / "in", f"{speaker}-2-0 {word}\n".encode(), 1, f"{speaker}-2")
    source = FolderSource(tmp_path / "in", LANGUAGES[language])
    LibriSpeech(data_dir=tmp_path, source=source, workers=1).prepare()
    corpus = open_corpus(tmp_path, "librispeech/by_speaker", "train")
    assert corpus.language == language
    assert corpus.characters == LANGUAGES[language].characters
    assert corpus[0].text == word
    with pytest.raises(CorpusError, match="delete it or choose another --data_dir"):
        LibriSpeech(data_dir=tmp_path, source=FolderSource(tmp_path / "in"), workers=1).prepare()


def test_everything_left_out_prints_the_causes(tmp_path):
    place = chapter(tmp_path / "in", b"1-2-0 [NOISE]\n1-2-1 HELLO\n", 1)
    (place / "1-2-2.flac").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"every recording is left out(?s:.*)odd characters") as e:
        LibriSpeech(data_dir=tmp_path, source=FolderSource(tmp_path / "in"), workers=1).prepare()
    assert "no recording for the transcript             1  1-2-1" in str(e.value)
    assert "no transcript for the recording             1  1-2-2" in str(e.value)

    chapter(tmp_path / "in", b"7-2-0 HELLO\n", 1, "7-2")
    with pytest.raises(CorpusError, match=r"1 speakers are too few(?s:.*)odd characters"):
        LibriSpeech(data_dir=tmp_path, source=FolderSource(tmp_path / "in"), workers=1).prepare()


def test_gsm_among_others(miniature, tmp_path):
    place = miniature / "19" / "198"
    flac = place / "19-198-0000.flac"
    soundfile.write(flac.with_suffix(".wav"), tone(1.0), RATE_HZ, format="WAV", subtype="GSM610")
    flac.unlink()
    directory = LibriSpeech(
        data_dir=tmp_path, source=FolderSource(miniature), workers=1, test_speakers=["19"]
    ).prepare()
    assert SkipReport.load(directory / "skip_report.json").skips == []
    corpus = open_corpus(tmp_path, "librispeech/by_speaker", "test")
    gsm = corpus[corpus.ids.index("19-198-0000")].audio.astype(float)
    clean = tone(1.0)[500:-500].astype(float)
    assert np.correlate(gsm, clean).max() / np.linalg.norm(gsm) / np.linalg.norm(clean) > 0.9
