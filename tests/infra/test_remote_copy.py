import pathlib
import uuid

import pytest

from rnnt_qat.infra.remote_copy import local_copy, uploaded_folder
from rnnt_qat.infra.remote_store import RemoteFolder, RemoteStoreError


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"memory://{uuid.uuid4().hex}/models/float"


def test_a_folder_is_downloaded_once_for_each_content(url, monkeypatch):
    remote = RemoteFolder(url)
    remote.write("a", b"1")
    remote.write("left/out", b"2")
    first = local_copy(url, lambda name: name == "a")
    assert [p.name for p in first.iterdir()] == ["a"]
    assert str(first).endswith("/models/float")

    def downloads(*_):
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(RemoteFolder, "download", downloads)
        assert local_copy(url, lambda name: name == "a") == first
    remote.write("a", b"33")
    assert (local_copy(url) / "a").read_bytes() == b"33"
    assert (first / "a").read_bytes() == b"1"


def test_a_folder_that_changes_meanwhile_is_no_mixture(url, monkeypatch):
    remote = RemoteFolder(url)
    for name in ("a", "b"):
        remote.write(name, b"old")
    download, changes = RemoteFolder.download, [b"new", b"newer", b"newest"]

    def changing(self, name, file):
        download(self, name, file)
        if changes and name == "a":
            content = changes.pop()
            for other in ("a", "b"):
                remote.write(other, content)

    monkeypatch.setattr(RemoteFolder, "download", changing)
    with pytest.raises(RemoteStoreError, match="changed while it was downloaded"):
        local_copy(url)
    copy = local_copy(url)
    assert (copy / "a").read_bytes() == (copy / "b").read_bytes() == b"new"


def test_an_empty_folder_is_named(url):
    with pytest.raises(RemoteStoreError, match="holds nothing"):
        local_copy(url)


def test_what_is_written_is_uploaded_even_after_an_error_manifests_last(url, monkeypatch):
    uploaded, upload = [], RemoteFolder.upload

    def noting(self, file, name):
        uploaded.append(name)
        upload(self, file, name)

    monkeypatch.setattr(RemoteFolder, "upload", noting)

    def write_and_fail():
        with uploaded_folder(url, last=("manifest",)) as folder:
            (folder / "part").mkdir()
            for name in ("manifest", "part/x", "z"):
                (folder / name).write_text(name)
            raise KeyError(folder)

    with pytest.raises(KeyError) as raised:
        write_and_fail()
    assert uploaded == ["part/x", "z", "manifest"]
    assert list(RemoteFolder(url).files()) == ["manifest", "part/x", "z"]
    assert not raised.value.args[0].exists()


def test_what_cannot_be_uploaded_is_kept_and_said(url, monkeypatch):
    def fails(self, file, name):
        raise RemoteStoreError("gone")

    monkeypatch.setattr(RemoteFolder, "upload", fails)

    def write():
        with uploaded_folder(url) as folder:
            (folder / "a").write_text("1")

    with pytest.raises(RemoteStoreError, match="What was written is in ") as raised:
        write()
    assert (pathlib.Path(str(raised.value).split(" is in ")[1]) / "a").exists()
