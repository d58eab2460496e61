import gzip
import hashlib

import numpy as np
import pytest

from data.asterisk_prompts import builder as asterisk
from data.asterisk_prompts.builder import AsteriskPrompts, split_by_phrase
from data.asterisk_prompts.transcripts import phrases
from data.audio import decode_g722
from data.skips import Cause, SkipReport
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus
from tests.data.conftest import encode_g722, tone, write_deb

SOUNDS = "usr/share/asterisk/sounds/en_US_f_Allison"
WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "kilo"]


def made_up_prompts() -> dict[str, str]:
    prompts = {f"prompt-{n}": f"{WORDS[n % 10]} number {WORDS[n // 10]}." for n in range(60)}
    return prompts | {
        "again": f"{prompts['prompt-3']}  Please repeat.",  # shares a sentence with prompt-3
        "repeat": "Please repeat.",
        "digits/7": "seven",
        "beep": "[this is a simple beep tone]",
        "h323": "H.323",
        "lost": "This recording is lost.",
    }


@pytest.fixture
def debs(tmp_path, monkeypatch):
    prompts = made_up_prompts()
    audio = {
        f"{SOUNDS}/{name}.g722": encode_g722(tone(1.5, hz=200 + 10 * number))
        for number, name in enumerate(prompts)
        if name != "lost"
    }
    audio[f"{SOUNDS}/unheard.g722"] = encode_g722(tone(1.0))
    listing = "; Made up\n\n" + "".join(f"{name}: {text}\n" for name, text in prompts.items())
    texts = {"usr/share/doc/x/core-sounds-en.txt.gz": gzip.compress(listing.encode())}
    folder = tmp_path / "debs"
    packages = {}
    for name, files in zip(asterisk.PACKAGES, (audio, texts), strict=True):
        deb = write_deb(folder / f"{name}_1_all.deb", files)
        packages[name] = hashlib.sha256(deb.read_bytes()).hexdigest()
    monkeypatch.setattr(asterisk, "PACKAGES", packages)
    return folder


def test_prompts_are_read_split_and_counted(debs, tmp_path):
    directory = AsteriskPrompts(data_dir=tmp_path, debs=debs, workers=1).prepare()
    report = SkipReport.load(directory / "skip_report.json")
    assert {skip.id: skip.cause for skip in report.skips} == {
        "beep": Cause.NOT_SPEECH,
        "h323": Cause.AMBIGUOUS_NUMBER,
        "lost": Cause.MISSING_AUDIO,
        "unheard": Cause.UNTRANSCRIBED,
    }
    corpora = {s: open_corpus(tmp_path, "asterisk_prompts", s) for s in report.kept}
    assert {split: len(corpus) for split, corpus in corpora.items()} == {
        "train": 51,
        "validation": 5,
        "test": 7,
    }
    names = [name for corpus in corpora.values() for name in corpus.ids]
    assert len(names) == len(set(names)) == 63
    said = {s: set().union(*map(phrases, corpus.texts)) for s, corpus in corpora.items()}
    assert not said["train"] & (said["test"] | said["validation"])
    assert not said["test"] & said["validation"]
    together = [s for s, c in corpora.items() if {"again", "repeat", "prompt-3"} & set(c.ids)]
    assert len(together) == 1
    assert "digits/7" in corpora["train"].ids

    position = corpora["train"].ids.index("digits/7")
    expected = decode_g722(encode_g722(tone(1.5, hz=200 + 10 * 62)))
    np.testing.assert_array_equal(corpora["train"][position].audio, expected)


def test_another_package_version_is_refused(debs, tmp_path):
    deb = next(debs.glob("*g722*"))
    deb.write_bytes(deb.read_bytes() + b"\n")
    with pytest.raises(CorpusError, match="SHA-256"):
        AsteriskPrompts(data_dir=tmp_path, debs=debs, workers=1).prepare()


def test_packages_are_downloaded_once(debs, tmp_path, monkeypatch):
    asked = []

    def download(package, folder):
        asked.append(package)
        folder.mkdir(parents=True, exist_ok=True)
        return next(debs.glob(f"{package}_*")).rename(folder / f"{package}_1_all.deb")

    monkeypatch.setattr(asterisk, "apt_download", download)
    for data_dir in ("one", "one"):
        made = AsteriskPrompts(data_dir=tmp_path / data_dir, workers=1)
        assert sum(len(list(r)) for r in made.list_recordings().values()) == 63
    assert asked == list(asterisk.PACKAGES)


def test_without_apt_the_flag_is_named(debs, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CorpusError, match=r"no apt-get .*--asterisk_debs=<folder>"):
        AsteriskPrompts(data_dir=tmp_path, workers=1).prepare()


def test_split_depends_on_texts_only():
    texts = made_up_prompts()
    prompts = {name: phrases(texts[name]) for name in texts if name not in ("beep", "h323")}
    once = split_by_phrase(prompts)
    assert once == split_by_phrase(dict(reversed(prompts.items())))
    renamed = {f"x{name}": said for name, said in prompts.items() if name != "digits/7"}
    assert set(split_by_phrase(renamed).values()) == {"train", "validation", "test"}


def test_a_chain_of_shared_phrases_is_one_group():
    prompts = {str(n): {f"phrase {n}", f"phrase {n + 1}"} for n in range(5)}
    prompts |= {f"other {n}": {f"single {n}"} for n in range(50)}
    split_of = split_by_phrase(prompts)
    assert len({split_of[str(n)] for n in range(5)}) == 1
