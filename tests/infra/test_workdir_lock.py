import multiprocessing
import os
import signal

import pytest

from rnnt_qat.infra.workdir_lock import WorkdirInUseError, locked


def test_a_second_run_is_told_who_holds_the_directory(tmp_path):
    second = locked(tmp_path / "run")
    with locked(tmp_path / "run"), pytest.raises(WorkdirInUseError, match=f"{os.getpid()} on "):
        second.__enter__()
    with locked(tmp_path / "run"):
        pass


def _hold(workdir, held):
    with locked(workdir):
        held.set()
        signal.pause()


def test_lock_of_a_killed_process_holds_nobody_up(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held))
    process.start()
    assert held.wait(60)
    with pytest.raises(WorkdirInUseError, match=f"process {process.pid} on "), locked(tmp_path):
        pass
    process.kill()
    process.join()
    with locked(tmp_path):
        pass
