"""Signals while training: noted, and at once where nothing is lost."""

import os
import signal
import subprocess
import sys
import time

import pytest

from rnnt_qat.training.signals import StopRequest


def wait_for(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("nothing came")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_said(number):
    lines, former = [], signal.getsignal(number)
    with StopRequest(lines.append) as stop:
        assert not stop
        os.kill(os.getpid(), number)
        wait_for(lambda: lines)
        assert stop.signal_number == number
    assert "stops after this step" in lines[0]
    assert signal.getsignal(number) is former


# The main thread sits in C, as it does while XLA compiles: handlers written in Python would only
# run afterwards.
BUSY = """
import contextlib, ctypes, sys
from rnnt_qat.training.signals import StopRequest
with StopRequest(lambda line: print(line, flush=True)) as stop:
    with stop.nothing_to_save("compiling") if sys.argv[1] == "first" else contextlib.nullcontext():
        print("ready", flush=True)
        ctypes.CDLL(None).sleep(30)
        ctypes.CDLL(None).sleep(30)
        ctypes.CDLL(None).sleep(30)
"""


@pytest.mark.parametrize(("where", "signals"), [("first", 1), ("later", 2)])
def test_the_process_ends_at_once_inside_compiled_code(where, signals):
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    for number in range(signals):
        process.send_signal(signal.SIGINT)
        if number < signals - 1:
            assert "once more ends the process" in process.stdout.readline()
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "the same command goes on from the newest checkpoint" in error
