import hashlib

import pytest

from data.debian import apt_download, check_sha256, find_deb, read_deb
from rnnt_qat.input_pipeline.corpus import CorpusError
from tests.data.conftest import ar_member, write_deb

FILES = {"usr/share/one.txt": b"one", "usr/share/two.bin": bytes(range(256)), "etc/three": b""}


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_read_deb(tmp_path, compression):
    deb = write_deb(tmp_path / "p_1_all.deb", FILES, compression)
    assert dict(read_deb(deb, lambda path: True)) == FILES
    assert [name for name, _ in read_deb(deb, lambda path: path.endswith("txt"))] == [
        "usr/share/one.txt"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "is no .deb: it does not begin"),
        (b"!<arch>\n" + ar_member("debian-binary", b"2.0\n"), "has no data.tar"),
        (
            b"!<arch>\n" + ar_member("data.tar.zst", b"\x28\xb5\x2f\xfd" * 9),
            "cannot read data.tar.zst",
        ),
        (b"!<arch>\n" + ar_member("data.tar.xz", b"\xfd7zXZ\x00" * 9), "cannot read data.tar.xz"),
    ],
)
def test_read_deb_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "p.deb"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        list(read_deb(path, lambda path: True))


def test_find_deb(tmp_path):
    with pytest.raises(CorpusError, match="found: none"):
        find_deb("p", tmp_path)
    deb = write_deb(tmp_path / "p_1_all.deb", {})
    write_deb(tmp_path / "p-other_1_all.deb", {})
    assert find_deb("p", tmp_path) == deb
    write_deb(tmp_path / "p_2_all.deb", {})
    with pytest.raises(CorpusError, match=r"p_1_all.deb, p_2_all.deb"):
        find_deb("p", tmp_path)


def test_check_sha256(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    check_sha256(path, hashlib.sha256(b"content").hexdigest())
    with pytest.raises(CorpusError, match="another version or damaged"):
        check_sha256(path, "0" * 64)


def fake_apt(folder, monkeypatch, script):
    """Puts an ``apt-get`` of our own first in the path."""
    folder.mkdir()
    (folder / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_apt_download(tmp_path, monkeypatch):
    fake_apt(tmp_path / "bin", monkeypatch, '[ "$1" = download ] && touch "$2_1_all.deb"')
    assert apt_download("p", tmp_path / "debs") == tmp_path / "debs" / "p_1_all.deb"


def test_apt_download_fetches_missing_lists_into_its_own_folder(tmp_path, monkeypatch, capsys):
    script = """
    for last; do :; done
    case "$*" in
      *update) touch "$PWD/apt/lists/known" ;;
      -o*download*) [ -e "$PWD/apt/lists/known" ] && touch "${last}_1_all.deb" ;;
      *) echo "E: Unable to locate package $last" >&2; exit 100 ;;
    esac"""
    fake_apt(tmp_path / "bin", monkeypatch, script)
    assert apt_download("p", tmp_path / "debs").name == "p_1_all.deb"
    assert "fetching package lists" in capsys.readouterr().out


def test_apt_download_fails_with_apts_own_words(tmp_path, monkeypatch):
    fake_apt(tmp_path / "bin", monkeypatch, "echo 'E: Unable to locate package p' >&2; exit 100")
    with pytest.raises(CorpusError, match="Unable to locate package p"):
        apt_download("p", tmp_path / "debs")


def test_apt_download_without_apt(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="no apt-get on this machine"):
        apt_download("p", tmp_path / "debs")
