"""Devices and processes change how training is spread, not what it learns."""

import math
import os
import socket
import subprocess
import sys

import pytest

from rnnt_qat.training.metrics import read_records


def start(workdir, *arguments, devices=1):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.toy", str(workdir), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )


def finish(*processes):
    for process in processes:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def assert_same_training(one, other):
    for a, b in zip(
        read_records(one / "metrics.jsonl"), read_records(other / "metrics.jsonl"), strict=True
    ):
        assert a.keys() == b.keys()
        for name, value in a.items():
            if isinstance(value, float):
                assert math.isclose(value, b[name], rel_tol=1e-4, abs_tol=1e-4), (a, b)
            else:
                assert value == b[name], (a, b)


@pytest.mark.slow
def test_four_devices_and_two_processes_train_the_same(tmp_path):
    one = start(tmp_path / "one")
    # Parameters and optimizer cut over the devices, too.
    finish(one, start(tmp_path / "four", "--shard-above", 0, devices=4))
    assert_same_training(tmp_path / "one", tmp_path / "four")

    coordinator = f"127.0.0.1:{free_port()}"
    options = ["--coordinator", coordinator, "--processes", 2]
    finish(*(start(tmp_path / "two", *options, "--process", i) for i in (0, 1)))
    assert_same_training(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_four_devices_learn_the_same_and_talk_once():
    """In a process of its own: devices are counted once, at start."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.sharded_learning"],
        env=os.environ
        | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
