"""Runs and searches on ``s3://``: s3fs against moto, a server of S3's protocol, on this machine.

Machines are caches (``XDG_CACHE_HOME``): all that a process keeps outside of the store.
"""

import signal
import uuid

import pytest

from rnnt_qat.infra.lease import LEASE, Lease, LeaseTimes
from rnnt_qat.infra.remote_store import RemoteFolder, RemoteStoreError
from rnnt_qat.infra.workdir_lock import WorkdirInUseError
from rnnt_qat.studies.precision_candidates import STORAGE
from tests.integration import in_store
from tests.integration.test_remote_resume import finish, start, wait_for

pytest.importorskip("s3fs", reason="s3fs is not installed (extra: remote)")
moto_server = pytest.importorskip("moto.server", reason="pip install 'moto[server]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    """The server; what it holds outlives ``stop`` and ``start``."""
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        found = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        found.start()
        host, found._port = found.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{found._port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore's own; s3fs tries again as well
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield found
        found.stop()


@pytest.fixture
def url(server):
    return f"s3://bucket/{uuid.uuid4().hex}/run"


def sealed(remote, stage):
    """Returns the steps of a stage's whole checkpoints."""
    names = [name.split("/") for name in remote.files() if name.endswith("/checksums.json")]
    return [int(step) for _, of, step, _ in names if of == stage]


def test_a_file_is_created_once_and_copied_in_parts(url, tmp_path):
    remote = RemoteFolder(url)
    assert remote.create("lease", b"1")
    assert not remote.create("lease", b"2")
    assert remote.read("lease") == b"1"
    content = bytes(range(256)) * (2**20 // 256) * 120  # more than s3fs sends at once
    (tmp_path / "file").write_bytes(content)
    remote.upload(tmp_path / "file", "a/large")
    remote.write("a/empty", b"")
    before = remote.files()
    assert list(before) == ["a/empty", "a/large", "lease"]
    for name in ("large", "empty"):
        remote.download(f"a/{name}", tmp_path / name)
    assert (tmp_path / "large").read_bytes() == content
    assert (tmp_path / "empty").read_bytes() == b""
    remote.write("a/empty", b"1")
    assert remote.files()["a/empty"] != before["a/empty"]
    remote.delete(["a/large", "a/never", "a/empty"])
    assert list(remote.files()) == ["lease"]


def test_a_missing_bucket_and_missing_credentials_are_named(server, url, tmp_path, monkeypatch):
    with pytest.raises(RemoteStoreError, match=r"cannot write s3://nosuch/run/a: .* bucket"):
        RemoteFolder("s3://nosuch/run").write("a", b"")
    nothing = str(tmp_path / "nothing")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, nothing)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    said = finish(start(url, tmp_path / "a"), code=1)
    assert f"cannot read {url}/{LEASE}: NoCredentialsError" in said
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said


def test_a_run_goes_on_on_any_machine_and_after_the_store_was_gone(server, url, tmp_path):
    remote = RemoteFolder(url)
    whole = start(tmp_path / "whole", tmp_path / "a")

    # Killed while another that begins is refused, then taken up by a machine that has nothing.
    killed = start(url, tmp_path / "a", "--seconds", 0.2)
    wait_for(killed, lambda: sealed(remote, "0_float"))
    with pytest.raises(WorkdirInUseError, match=f"in use by process {killed.pid} "):
        Lease(remote, tmp_path / "identity", print, LeaseTimes(0.2, 1.5))
    killed.kill()
    finish(killed, code=-signal.SIGKILL)

    # The store goes away until the run has ended: it says so, and where its files are.
    cut_off = start(url, tmp_path / "b", "--seconds", 0.2)
    wait_for(cut_off, lambda: sealed(remote, "2_aware"))
    server.stop()
    said = finish(cut_off, code=1)
    server.start()
    assert "float: resumed at step" in said
    assert f"cannot write {url}/" in said or f"cannot read {url}/" in said
    assert "the same command on this machine uploads it" in said
    assert remote.read(LEASE) is not None

    said = finish(start(url, tmp_path / "b"))
    assert "aware: resumed at step 50" in said
    finish(whole)
    assert remote.read("metrics.jsonl") == (tmp_path / "whole/metrics.jsonl").read_bytes()
    local = {int(p.name) for p in (tmp_path / "whole/checkpoints/2_aware").iterdir()}
    assert set(sealed(remote, "2_aware")) == local
    assert remote.read(LEASE) is None


def test_a_killed_search_goes_on_on_another_machine(url, tmp_path):
    remote = RemoteFolder(url)
    logs = [tmp_path / name for name in ("first.log", "second.log")]

    def stored():
        return (remote.read(STORAGE) or b"").count(b'"state":1')

    killed = in_store.start("search", url, logs[0], 16, 0.3, machine=tmp_path / "a")
    wait_for(killed, lambda: stored() >= 3)
    killed.kill()
    finish(killed, code=-signal.SIGKILL)
    before = stored()
    said = finish(in_store.start("search", url, logs[1], 16, 0, machine=tmp_path / "b"))
    assert 3 <= before < 16
    assert len(logs[1].read_text().splitlines()) == 16 - before
    assert len([line for line in said.splitlines() if line.startswith("ethos_u")]) == 16
    assert LEASE not in remote.files()
