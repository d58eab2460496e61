"""Devices and processes change how training is spread, not what it learns."""

import math
import os
import signal
import socket
import subprocess
import sys

import pytest

from rnnt_qat.infra.processes import join_detected
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


def finish(*processes, code=0):
    for process in processes:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == code, out


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

    # A run may change its size on the way: 4 devices, 2, 8.
    for devices, stop in ((4, 11), (2, 33)):
        stopped = start(tmp_path / "size", "--signal-at", stop, devices=devices)
        finish(stopped, code=128 + signal.SIGTERM)
    finish(start(tmp_path / "size", devices=8))
    assert_same_training(tmp_path / "one", tmp_path / "size")

    # One of two is told to stop, and both do with a checkpoint; then one is killed, and the other
    # ends within seconds. One process alone goes on from there.
    options = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", 2]
    told = start(tmp_path / "peers", *options, "--process", 1, "--signal-at", 17)
    other = start(tmp_path / "peers", *options, "--process", 0)
    finish(told, other, code=128 + signal.SIGTERM)
    options = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", 2]
    killed = start(tmp_path / "peers", *options, "--process", 1, "--signal-at", 39, "--signal", 9)
    other = start(tmp_path / "peers", *options, "--process", 0)
    finish(killed, code=-signal.SIGKILL)
    assert other.wait(timeout=60) not in (0, None)
    finish(start(tmp_path / "peers"))
    assert_same_training(tmp_path / "one", tmp_path / "peers")


@pytest.mark.slow
def test_processes_that_slurm_started_find_each_other():
    """Of its variables, those that JAX reads; the nodes are this machine."""
    program = (
        "from rnnt_qat.infra.processes import join_detected; import jax;"
        "print(join_detected(), jax.process_index(), jax.process_count(), len(jax.devices()))"
    )
    variables = {"SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2", "SLURM_JOB_ID": "4321"}
    variables |= {"SLURM_NNODES": "1", "JAX_PLATFORMS": "cpu"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | variables | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)},
        )
        for i in (0, 1)
    ]
    said = [process.communicate(timeout=120)[0].split() for process in started]
    assert said == [["True", str(i), "2", "2"] for i in (0, 1)]


def test_a_process_of_its_own_joins_nobody(monkeypatch):
    for name in ("SLURM_STEP_NODELIST", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "8")  # a shell of salloc, outside of its steps
    assert not join_detected()


@pytest.mark.slow
@pytest.mark.exhaustive
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
