"""Sweeps and searches on ``dirstore://`` in processes of their own, with short leases.

Its arguments are ``sweep FLAGS`` or ``search URL LOG TRIALS SECONDS``. It is imported by its name,
not run as ``__main__``, so that tasks in other processes import it too.
"""

import functools
import importlib
import os
import pathlib
import subprocess
import sys
import time

import tests.infra.directory_store  # noqa: F401 - dirstore://
from rnnt_qat.infra.lease import LeaseTimes

LeaseTimes.__init__.__defaults__ = (0.5, 5.0)  # a machine that died is not waited for a minute


def start(*arguments, machine, write_seconds=0.0):
    """Starts this program; ``machine`` is its cache, all that it keeps outside of the store."""
    environment = {
        "XDG_CACHE_HOME": str(machine),
        "JAX_COMPILATION_CACHE_DIR": os.environ["JAX_COMPILATION_CACHE_DIR"],
        "DIRSTORE_SECONDS": str(write_seconds),
    }
    return subprocess.Popen(
        [sys.executable, "-c", f"import {__name__} as p; p.main()", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )


def set_up(*arguments, **options):
    """Sets up the devices of a task's process, which has imported this module for it."""
    from experiments.flags import set_up_devices

    set_up_devices(*arguments, **options)


def search_toy(url, log, trials, seconds):
    """Searches with a loss that takes its time and notes that it was asked for."""
    from rnnt_qat.experiment.remote_paths import open_workdir
    from rnnt_qat.infra.console import Console
    from rnnt_qat.studies.precision_candidates import SEARCH, SearchConfig
    from rnnt_qat.studies.precision_search import search
    from tests.studies.test_precision_search import BITS, CALLS, costs_of, loss_of

    def loss(bits):
        time.sleep(float(seconds))
        with pathlib.Path(log).open("a") as file:
            file.write(f"{sorted(bits.items())}\n")
        return loss_of(bits)

    console, config = Console(), SearchConfig(BITS, trials=int(trials), population=4)
    with open_workdir(url, console, layout=SEARCH) as opened:
        found = search(
            "ethos_u_8x8_16",
            config,
            {width: {1: costs} for width, costs in costs_of().items()},
            {1: CALLS},
            loss,
            "toy",
            opened.path,
            console,
            opened.check,
        )
    for candidate in found:
        print(candidate.policy)


def main():
    """Runs a program or the toy search."""
    name, *arguments = sys.argv[1:]
    if name == "search":
        search_toy(*arguments)
        return
    from experiments import engine_flags

    engine_flags.set_up_devices = functools.partial(set_up)
    sys.argv = [f"{name}.py", *arguments]
    module = importlib.import_module(f"experiments.{name}")
    module.run(module.main)
