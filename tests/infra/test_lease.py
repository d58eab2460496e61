import json
import time
import uuid

import pytest

from rnnt_qat.infra.lease import LEASE, Lease, LeaseTimes
from rnnt_qat.infra.remote_store import RemoteFolder
from rnnt_qat.infra.workdir_lock import WorkdirInUseError

FAST = LeaseTimes(renewed_s=0.05, expires_s=0.4)


@pytest.fixture
def remote():
    return RemoteFolder(f"memory://{uuid.uuid4().hex}/run")


def acquire(remote, identity, said=None, times=FAST):
    return Lease(remote, identity, (said if said is not None else []).append, times)


def dies(lease):
    """Ends the renewals as a killed process does."""
    lease._ended.set()
    lease._thread.join()


def test_a_second_run_is_refused_until_the_first_releases(remote, tmp_path):
    first = acquire(remote, tmp_path / "a")
    said = []
    with pytest.raises(WorkdirInUseError, match=r"in use by process \d+ on"):
        acquire(remote, tmp_path / "b", said)
    assert "waiting up to" in said[0]
    first.require()
    first.release()
    assert remote.read(LEASE) is None
    second = acquire(remote, tmp_path / "b")
    assert not second.was_ours
    second.release()


def test_a_dead_run_is_waited_for_by_another_machine_and_not_by_its_own(remote, tmp_path):
    dies(acquire(remote, tmp_path / "a"))
    again = acquire(remote, tmp_path / "a", times=LeaseTimes(0.05, 1e6))
    assert again.was_ours
    dies(again)
    began = time.monotonic()
    other = acquire(remote, tmp_path / "b")
    assert time.monotonic() - began >= FAST.expires_s
    assert not other.was_ours
    other.release()


def test_a_lease_whose_creation_was_answered_late_is_not_one_of_an_earlier_run(
    remote, tmp_path, monkeypatch
):
    create = remote.create

    def answer_is_lost(name, content):
        assert create(name, content)
        return create(name, content)  # as clients of S3 do when a connection breaks

    monkeypatch.setattr(remote, "create", answer_is_lost)
    lease = acquire(remote, tmp_path / "a", times=LeaseTimes(0.05, 1e6))
    assert not lease.was_ours
    lease.require()
    lease.release()
    assert remote.read(LEASE) is None


def test_an_old_lease_is_not_waited_for(remote, tmp_path):
    dies(acquire(remote, tmp_path / "a"))
    content = json.loads(remote.read(LEASE))
    remote.write(LEASE, json.dumps(content | {"renewed": time.time() - 1e7}).encode())
    acquire(remote, tmp_path / "b", times=LeaseTimes(0.05, 1e6)).release()


def test_a_damaged_lease_does_not_stand_in_the_way(remote, tmp_path):
    remote.write(LEASE, b"{")
    acquire(remote, tmp_path / "a").release()


def test_a_lease_taken_over_is_noticed_and_left_alone(remote, tmp_path):
    first = acquire(remote, tmp_path / "a")
    taken = json.dumps({"id": "other", "holder": "process 7"}).encode()
    remote.write(LEASE, taken)
    with pytest.raises(WorkdirInUseError, match="process 7"):
        first.require()
    with pytest.raises(WorkdirInUseError, match="process 7"):
        first.check()
    first.release()
    assert remote.read(LEASE) == taken
