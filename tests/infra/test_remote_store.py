import errno
import time
import uuid

import pytest

from rnnt_qat.infra.remote_store import RemoteFolder, RemoteStoreError, Retries, is_remote


@pytest.fixture
def remote():
    return RemoteFolder(f"memory://{uuid.uuid4().hex}/run", Retries(3, 0.0))


def test_what_is_remote():
    assert is_remote("s3://bucket/run")
    assert not is_remote("file:///run")
    assert not is_remote("workdir/a")


def test_files_are_written_listed_read_and_deleted(remote, tmp_path):
    assert remote.files() == {}
    assert remote.read("a/b") is None
    (tmp_path / "b").write_bytes(b"2")
    remote.write("a", b"1")
    remote.upload(tmp_path / "b", "c/b")
    before = remote.files()
    assert list(before) == ["a", "c/b"]
    remote.download("c/b", tmp_path / "new/c")
    assert (tmp_path / "new/c").read_bytes() == b"2"
    remote.write("a", b"longer")
    assert remote.files()["a"] != before["a"]
    remote.delete(["a", "never"])
    assert list(remote.files()) == ["c/b"]


def test_a_file_is_created_once(remote):
    assert remote.create("lease", b"1")
    assert not remote.create("lease", b"2")
    assert remote.read("lease") == b"1"


def test_s3_says_in_the_cause_alone_that_a_file_exists(remote, monkeypatch):
    def refuses(path, content, mode):
        text = "An error occurred (PreconditionFailed) when calling the PutObject operation: ..."
        raise OSError(errno.EINVAL, "At least one of the pre-conditions") from ValueError(text)

    monkeypatch.setattr(remote._fs, "pipe_file", refuses)
    assert not remote.create("lease", b"1")


def test_faults_are_retried_and_then_named(remote, monkeypatch):
    faults = [ConnectionError("reset"), TimeoutError("slow")]
    write = remote._fs.pipe_file

    def fails(path, content):
        if faults:
            raise faults.pop()
        write(path, content)

    monkeypatch.setattr(remote._fs, "pipe_file", fails)
    remote.write("a", b"1")
    assert remote.read("a") == b"1"
    faults += [ConnectionError("reset")] * 3
    with pytest.raises(RemoteStoreError, match=r"cannot write memory://.*/run/a in 3 attempts .*"):
        remote.write("a", b"2")


def test_a_store_that_does_not_answer_is_not_asked_for_half_an_hour(monkeypatch):
    remote = RemoteFolder(f"memory://{uuid.uuid4().hex}/run", Retries(5, 0.0, longest_s=0.1))

    def waits(path):
        time.sleep(0.06)
        raise TimeoutError("no answer")

    monkeypatch.setattr(remote._fs, "cat_file", waits)
    with pytest.raises(RemoteStoreError, match=r"in 2 attempts \(0 s\): TimeoutError: no answer"):
        remote.read("a")


def test_what_waiting_does_not_mend_is_not_retried(remote, monkeypatch, tmp_path):
    asked = []

    def refuses(*_):
        asked.append(1)
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(remote._fs, "pipe_file", refuses)
    with pytest.raises(RemoteStoreError, match="AccessDenied: the store does not know this"):
        remote.write("a", b"1")
    assert len(asked) == 1
    with pytest.raises(FileNotFoundError):
        remote.upload(tmp_path / "gone", "a")
    with pytest.raises(RemoteStoreError, match="cannot read"):
        remote.download("gone", tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_missing_credentials_are_named_at_once_with_their_mend(remote, monkeypatch):
    asked = []

    class NoCredentialsError(Exception):
        """As botocore's."""

    def refuses(path):
        asked.append(1)
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(remote._fs, "cat_file", refuses)
    with pytest.raises(RemoteStoreError, match="Unable to locate credentials: AWS_ACCESS_KEY_ID"):
        remote.read("a")
    assert len(asked) == 1


def test_a_store_that_nothing_reads_is_named_with_the_extra():
    with pytest.raises(RemoteStoreError, match=r"nosuch.*pip install '\.\[remote\]'"):
        RemoteFolder("nosuch://bucket/run")
