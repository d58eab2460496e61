"""A run that is stopped and killed on its way ends as if it had not been."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from rnnt_qat.training.metrics import read_records


def start(workdir, *arguments):
    cache = {"JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled")}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.toy", str(workdir), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def wait_for_checkpoint(process, directory: pathlib.Path):
    """Returns once a complete checkpoint is in ``directory``, the process still at work."""
    while not any(p.name.isdigit() for p in directory.glob("*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.slow
def test_sigterm_and_kill_change_nothing(tmp_path):
    whole = start(tmp_path / "whole")

    # Batches that take their time, so that the signals arrive in the middle of a stage.
    stopped = start(tmp_path / "cut", "--seconds", 0.1)
    wait_for_checkpoint(stopped, tmp_path / "cut/checkpoints/0_float")
    stopped.send_signal(signal.SIGTERM)
    out, err = stopped.communicate(timeout=300)
    assert stopped.returncode == 128 + signal.SIGTERM, err
    assert "stopped at step" in out
    assert "SIGTERM" in out
    stopped_step = max(int(p.name) for p in (tmp_path / "cut/checkpoints/0_float").iterdir())
    assert 0 < stopped_step < 30
    assert f"step {stopped_step} " in out

    killed = start(tmp_path / "cut", "--seconds", 0.1)
    wait_for_checkpoint(killed, tmp_path / "cut/checkpoints/2_aware")
    killed.kill()
    _, err = killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert f"float: resumed at step {stopped_step}" in err

    _, err = finish(start(tmp_path / "cut"))
    assert "aware: resumed at step" in err
    finish(whole)
    assert (tmp_path / "cut/metrics.jsonl").read_bytes() == (
        tmp_path / "whole/metrics.jsonl"
    ).read_bytes()
    assert read_records(tmp_path / "whole/metrics.jsonl")[-1]["step"] == 50
