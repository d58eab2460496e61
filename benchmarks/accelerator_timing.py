"""Measurement inside a case of ``benchmarks.accelerator``: sizes of the run, times, rows of JSON.

Times are of dispatched work to its end (``block_until_ready``), the median of several calls after
one that is not counted.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.energy import EnergyMeter

TINY = bool(os.environ.get("ACCELERATOR_TINY"))
HOST = bool(os.environ.get("ACCELERATOR_HOST"))
"""Sizes that one core of a CPU computes in seconds, measured in processor time, which other
processes do not change (``benchmarks.devices``)."""
ROUNDS = 3 if TINY or HOST else 7


def say(**row: object) -> None:
    """Prints a row."""
    print(json.dumps(row), flush=True)


def check_devices() -> None:
    """Notes how many devices JAX finds; ends the process if they are not ACCELERATOR_DEVICES."""
    found, expected = jax.device_count(), os.environ.get("ACCELERATOR_DEVICES")
    print(f"{found} devices", file=sys.stderr)
    if expected and found != int(expected):
        sys.exit(f"ACCELERATOR_DEVICES={expected}, but JAX finds {found} devices")


def timed(function: Callable, *arguments: object, donated: bool = False) -> dict[str, float]:
    """Compiles and times a function.

    Args:
      function: to be compiled.
      arguments: its arguments, on the device.
      donated: whether its result replaces its first argument, whose buffer is given up.
    """
    begun = time.perf_counter()
    jitted = jax.jit(function, donate_argnums=(0,) if donated else ())
    compiled = jitted.lower(*arguments).compile()
    compile_s, times = time.perf_counter() - begun, []
    meter = EnergyMeter(jax.default_backend())
    clock = time.process_time if HOST else time.perf_counter
    for number in range(ROUNDS + 1):
        if number == 1:
            meter.start()
        begun = clock()
        result = jax.block_until_ready(compiled(*arguments))
        times.append(clock() - begun)
        if donated:
            arguments = (result, *arguments[1:])
    return {
        "ms": 1e3 * statistics.median(times[1:]),
        "compile_s": compile_s,
        "peak_mb": peak_mb(),
        "joules": meter.stop() / ROUNDS,
    }


def rate(row: dict[str, float], operations: float) -> dict[str, float]:
    """Returns the rate of a measured function's products, in 10^12 operations a second."""
    return {"model_tera_per_s": 1e-12 * operations / (row["ms"] / 1e3)}


def peak_mb() -> float:
    """Returns the device's largest allocation so far in this process; NaN where it has no count."""
    statistics_of_memory = jax.local_devices()[0].memory_stats() or {}
    return statistics_of_memory.get("peak_bytes_in_use", float("nan")) / 1e6


def normal(seed: int, *shape: int) -> jax.Array:
    """Returns standard normal float32 numbers, drawn on the host."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))
