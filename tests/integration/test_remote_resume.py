"""A run in an object store that is killed, on one machine and another, ends as if it had not been.

Machines are caches (``XDG_CACHE_HOME``): all that a run keeps outside of the store.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

import tests.infra.directory_store  # noqa: F401 - dirstore://
from rnnt_qat.infra.lease import LEASE, Lease, LeaseTimes
from rnnt_qat.infra.remote_store import RemoteFolder
from rnnt_qat.infra.workdir_lock import WorkdirInUseError


def start(workdir, machine, *arguments, write_seconds=0.0):
    cache = {
        "XDG_CACHE_HOME": str(machine),
        "JAX_COMPILATION_CACHE_DIR": str(machine.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "DIRSTORE_SECONDS": str(write_seconds),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.toy", str(workdir), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | cache,
    )


def finish(process, code=0):
    out, _ = process.communicate(timeout=300)
    assert process.returncode == code, out
    return out


def wait_for(process, condition):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def steps(store, stage, sealed):
    """Returns the steps of a stage in the store that have a seal, or files but none yet.

    A store has no empty folders; the one in a folder keeps them after a deletion.
    """
    files = [f for f in (store / "checkpoints" / stage).rglob("[!.]*") if f.is_file()]
    folders = {file.relative_to(store / "checkpoints" / stage).parts[0] for file in files}
    seals = {file.parent.name for file in files if file.name == "checksums.json"}
    return [int(name) for name in (folders & seals if sealed else folders - seals)]


@pytest.mark.slow
def test_a_run_goes_on_from_the_store_on_any_machine(tmp_path):
    whole = start(tmp_path / "whole", tmp_path / "a")
    store, url = tmp_path / "store/run", f"dirstore://{tmp_path}/store/run"

    # Told to stop, a run uploads its checkpoint; another that begins meanwhile is refused.
    first = start(url, tmp_path / "a", "--seconds", 0.2)
    wait_for(first, lambda: steps(store, "0_float", sealed=True))
    with pytest.raises(WorkdirInUseError, match=f"in use by process {first.pid} "):
        Lease(RemoteFolder(url), tmp_path / "identity", print, LeaseTimes(0.2, 1.5))
    first.send_signal(signal.SIGTERM)
    out = finish(first, code=128 + signal.SIGTERM)
    stopped = max(steps(store, "0_float", sealed=True))
    assert f"stopped at step {stopped} " in out
    assert not (store / LEASE).exists()

    # Killed in the middle of an upload, on a machine that had nothing.
    killed = start(url, tmp_path / "b", "--seconds", 0.2, write_seconds=0.05)
    wait_for(killed, lambda: steps(store, "2_aware", sealed=False))
    killed.kill()
    assert f"float: resumed at step {stopped}" in finish(killed, code=-signal.SIGKILL)

    # The same machine goes on at once, with what it had not uploaded, and is killed again.
    again = start(url, tmp_path / "b", "--seconds", 0.2)
    wait_for(again, lambda: steps(store, "2_aware", sealed=True))
    again.kill()
    assert "waiting up to" not in finish(again, code=-signal.SIGKILL)

    # Damage to the newest checkpoint of the store: a third machine finishes from the one before it.
    newest = store / "checkpoints/2_aware" / str(max(steps(store, "2_aware", sealed=True)))
    for file in (newest / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    out = finish(start(url, tmp_path / "c"))
    assert f"2_aware/{newest.name} is damaged" in out
    assert "resumed at step" in out
    finish(whole)
    assert (store / "metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    assert steps(store, "2_aware", sealed=False) == []
    local = {p.name for p in (tmp_path / "whole/checkpoints/2_aware").iterdir()}
    assert set(map(str, steps(store, "2_aware", sealed=True))) == local
