"""One recording never stops the others."""

import errno
import functools
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from data.audio import Limits
from data.encoding import CHUNK, Recording, encode_all
from data.skips import Cause, SkipError
from tests.data.conftest import tone


def fail(error: Exception) -> np.ndarray:
    raise error


def die() -> np.ndarray:
    os._exit(139)


def recordings(number: int, **faults) -> list[Recording]:
    good = functools.partial(tone, 0.5)
    return [Recording(f"r{i}", "s", "word", faults.get(f"r{i}", good)) for i in range(number)]


def causes(encoded):
    return {item.id: item.error.cause for item in encoded if item.error}


@pytest.mark.parametrize(
    "error", [ValueError("odd"), TypeError("odd"), OSError(errno.EIO, "odd"), KeyError("odd")]
)
def test_whatever_a_decoder_raises_leaves_out_its_recording(error):
    listed = recordings(3, r1=functools.partial(fail, error))
    encoded = list(encode_all(listed, Limits()))
    assert [item.id for item in encoded] == ["r0", "r1", "r2"]
    assert causes(encoded) == {"r1": Cause.DECODER_FAILED}
    assert "odd" in encoded[1].error.detail
    assert type(error).__name__ in encoded[1].error.detail


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "disk full"), MemoryError()])
def test_faults_of_the_machine_are_raised(error):
    with pytest.raises(type(error)):
        list(encode_all(recordings(3, r1=functools.partial(fail, error)), Limits()))


@pytest.mark.slow
def test_a_decoder_that_ends_its_process_leaves_out_its_recording():
    number = 3 * CHUNK
    torn = functools.partial(fail, SkipError(Cause.UNREADABLE_AUDIO, "torn"))
    listed = recordings(number, r1=torn, r20=die)
    encoded = list(encode_all(listed, Limits(), workers=2))
    assert [item.id for item in encoded] == [f"r{i}" for i in range(number)]
    assert causes(encoded) == {"r1": Cause.UNREADABLE_AUDIO, "r20": Cause.DECODER_FAILED}
    alone = list(encode_all(recordings(number, r1=torn), Limits()))
    assert [e.flac for e in encoded if e.id != "r20"] == [e.flac for e in alone if e.id != "r20"]


_ENDLESS = """
import functools, os, pathlib, sys, time
from data.audio import Limits
from data.encoding import CHUNK, Recording, encode_all

def begin(folder):
    (pathlib.Path(folder) / str(os.getpid())).touch()
    time.sleep(0.2)
    raise ValueError

if __name__ == "__main__":
    decode = functools.partial(begin, sys.argv[1])
    list(encode_all((Recording(f"r{i}", "s", "word", decode) for i in range(10**6)), Limits(), 2))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_a_killed_preparation(how, tmp_path):
    script, pids = tmp_path / "endless.py", tmp_path / "pids"
    script.write_text(_ENDLESS)
    pids.mkdir()
    root = pathlib.Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    running = subprocess.Popen([sys.executable, script, pids], env=environment)
    deadline = time.monotonic() + 120
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    running.send_signal(how)
    running.wait()
    workers = [int(path.name) for path in pids.iterdir()]
    assert len(workers) == 2
    while any(map(_runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_runs, workers))


def _runs(pid: int) -> bool:
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # a zombie has ended
