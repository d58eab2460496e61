"""Hosts of one job that keep their caches apart cannot share a remote working directory."""

import os
import subprocess
import sys
import time

import pytest

from tests.experiments.forked import ROOT
from tests.integration.test_distributed import free_port

TRAIN = (
    "import sys, tests.infra.directory_store; from experiments import train; train.run(train.main)"
)
LONGEST_S = 120
"""Importing takes most of it; JAX's own limits, after which it gives up on a peer, are longer."""


def train(store, machine, *arguments):
    options = ("--config=tests/experiments/tones_config.py", f"--workdir=dirstore://{store}")
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, *options, f"--data_dir={machine}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(machine), "JAX_PLATFORMS": "cpu"},
    )


@pytest.mark.slow
def test_both_processes_say_whose_cache_is_another(tmp_path):
    store, machines = tmp_path / "store/run", [tmp_path / "a", tmp_path / "b"]
    job = (f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2")
    began = time.monotonic()
    processes = [
        train(store, machine, *job, f"--process_id={number}")
        for number, machine in enumerate(machines)
    ]
    try:
        texts = [process.communicate(timeout=LONGEST_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for number, (process, said) in enumerate(zip(processes, texts, strict=True)):
        assert process.returncode == 1, said
        assert "Traceback" not in said
        (line,) = [line for line in said.splitlines() if "XDG_CACHE_HOME" in line]
        assert line.startswith(
            "RemoteStoreError: of the job's processes, 1 cannot see what process"
        )
        assert f"(this one, {number}, looks in {machines[number]}/rnnt_qat/" in line
        assert "let XDG_CACHE_HOME name a folder that all of them share" in line
    assert time.monotonic() - began < LONGEST_S
    assert not list(store.glob("**/*"))  # nothing is uploaded, and the lease is given back
