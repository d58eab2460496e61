"""Which files of a working directory are mirrored, and what is copied to be read."""

import io
import uuid

import pytest

from rnnt_qat.experiment.remote_paths import (
    WORKDIR,
    absolute_place,
    is_empty,
    model_places,
    open_workdir,
    readable_folder,
    writable_folder,
)
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.lease import LEASE
from rnnt_qat.infra.remote_store import RemoteFolder, RemoteStoreError


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"memory://{uuid.uuid4().hex}/run"


def silent():
    return Console(io.StringIO())


def test_checkpoints_and_models_are_units_and_records_are_loose():
    for name in ("checkpoints/0_float/20/state/d/0", "checkpoints/2_aware/7/checksums.json"):
        assert WORKDIR.unit_of(name)[0] == "/".join(name.split("/")[:3])
    assert WORKDIR.unit_of("models/float/variables.npz")[0] == "models/float"
    for name in ("metrics.jsonl", "config.json", "feature_stats.json", "tensorboard/events.1"):
        assert WORKDIR.is_loose(name)
    for name in (
        "checkpoints/0_float/20.orbax-checkpoint-tmp/state/d",
        "checkpoints/0_float/.deleting/20/state",
        "checkpoints/damaged/0_float_20/state",
        "models/.float.partial/variables.npz",
        "metrics.partial",
        ".lock",
        LEASE,
        "report/report.md",
    ):
        assert WORKDIR.unit_of(name) is None
        assert not WORKDIR.is_loose(name)


def test_a_local_working_directory_is_itself(tmp_path):
    with open_workdir(str(tmp_path / "run"), silent()) as workdir:
        assert workdir.path == tmp_path / "run"
        workdir.check()
    assert readable_folder("a/b").as_posix() == "a/b"
    with writable_folder("a/b", silent()) as folder:
        assert folder.as_posix() == "a/b"
    assert is_empty(str(tmp_path))


def test_what_a_run_leaves_is_in_the_store_and_the_lease_is_gone(url):
    with open_workdir(url, silent()) as workdir:
        (workdir.path / "metrics.jsonl").write_text("1")
        assert RemoteFolder(url).read(LEASE)
    assert list(RemoteFolder(url).files()) == ["metrics.jsonl"]
    with pytest.raises(KeyError), open_workdir(url, silent()) as workdir:  # noqa: PT012
        assert (workdir.path / "metrics.jsonl").read_text() == "1"
        (workdir.path / "metrics.jsonl").write_text("12")
        raise KeyError
    assert RemoteFolder(url).read("metrics.jsonl") == b"12"
    assert not is_empty(url)


def test_what_could_not_be_uploaded_is_uploaded_by_the_next_run_here(url, monkeypatch):
    def fails(self, file, name):
        raise RemoteStoreError("the store is down")

    with monkeypatch.context() as patched:
        patched.setattr(RemoteFolder, "upload", fails)
        with pytest.raises(RemoteStoreError, match="the same command on this machine"):  # noqa: SIM117
            with open_workdir(url, silent()) as workdir:
                (workdir.path / "metrics.jsonl").write_text("1")
    with open_workdir(url, silent()):
        pass
    assert RemoteFolder(url).read("metrics.jsonl") == b"1"


def test_a_download_that_was_cut_is_not_taken_for_newer(url, tmp_path, monkeypatch):
    """The killed run holds the lease, and what it had of before is older than the store."""
    with open_workdir(url, silent()) as workdir:
        (workdir.path / "metrics.jsonl").write_text("old")
    RemoteFolder(url).write("metrics.jsonl", b"newer, of another machine")

    def cut(self, name, file):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RemoteFolder, "download", cut)
        patched.setattr("rnnt_qat.infra.lease.Lease.release", lambda lease: lease._ended.set())
        with pytest.raises(KeyboardInterrupt), open_workdir(url, silent()):
            pass
    assert RemoteFolder(url).read(LEASE)
    with open_workdir(url, silent()) as workdir:
        assert (workdir.path / "metrics.jsonl").read_text() == "newer, of another machine"


def test_checkpoints_are_not_downloaded_to_read_models(url):
    remote = RemoteFolder(url)
    kept = ("models/float/recognizer.json", "metrics.jsonl", "model_0/w8a8/results/cell.json")
    for name in (*kept, "checkpoints/0_float/1/state", "model_0/w8a8/checkpoints/2_aware/1/state"):
        remote.write(name, b"{}")
    for name in (LEASE, f"model_0/w8a8/{LEASE}"):
        remote.write(name, b"{}")
    folder = readable_folder(url)
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == set(kept)


def test_models_are_found_in_folders_and_stores(url, tmp_path):
    remote = RemoteFolder(url)
    for name in ("models/b/recognizer.json", "models/a/recognizer.json", "models/c/variables.npz"):
        remote.write(name, b"{}")
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    for place in (str(tmp_path), url):
        found = [f"{place}/models/{name}" for name in "ab"]
        assert model_places(place) == model_places(f"{place}/models") == found
        assert model_places(f"{place}/models/a/") == found[:1]
        assert model_places(f"{place}/none") == []


def test_places_are_absolute(url, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert absolute_place("run/a/") == f"{tmp_path}/run/a"
    assert absolute_place(f"{url}/") == url
