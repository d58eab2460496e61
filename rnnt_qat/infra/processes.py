"""Processes of one job: how they find each other, and how fast the death of one is noticed."""

import os

import jax
from orbax.checkpoint import multihost

HEARTBEAT_TIMEOUT_S = 15
"""Seconds after which a silent process is taken for dead, which ends the others."""

_LONGEST_ENDING_S = 7 * 24 * 3600


def join(coordinator: str, num_processes: int, process_id: int) -> None:
    """Joins the processes of a job; must be called before any computation.

    Args:
      coordinator: ``HOST:PORT`` of process 0.
      num_processes: number of processes.
      process_id: number of this process.
    """
    _join(coordinator_address=coordinator, num_processes=num_processes, process_id=process_id)


def join_detected() -> bool:
    """Joins the processes of a job that Slurm, Open MPI or a cloud TPU started, if there is one.

    JAX reads host, number of processes and number of this one from the environment.

    Returns:
      Whether this process belongs to a job of several processes.
    """
    if not _started_as_one_of_several():
        return False
    _join()
    return True


def wait_for_all(name: str, timeout_s: float) -> None:
    """Waits until every process of the job has called this function.

    Unlike a collective operation, it may wait for hours, and needs no device.

    Args:
      name: name of the place in the program, the same on every process.
      timeout_s: time in seconds after which the job ends with an error.
    """
    if jax.process_count() > 1:
        multihost.get_barrier_sync_fn()(key=name, timeout_ms=int(timeout_s * 1000))


def end_together() -> None:
    """Waits until every process of the job has done its work; called at a program's end.

    Process 0 writes what all have computed. JAX would let the others wait for it for five minutes.
    """
    wait_for_all("the end", _LONGEST_ENDING_S)


def _join(**where) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # JAX's preemption service would handle SIGTERM itself, so the trainer would not receive it.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_S, **where)


def _started_as_one_of_several() -> bool:
    # A shell of `salloc` has Slurm's other variables, but no step and no number in it.
    variables = os.environ
    slurm = int(variables.get("SLURM_NTASKS", 1)) if "SLURM_STEP_NODELIST" in variables else 1
    mpi = int(variables.get("OMPI_COMM_WORLD_SIZE", 1))
    tpu = len([host for host in variables.get("TPU_WORKER_HOSTNAMES", "").split(",") if host])
    return max(slurm, mpi, tpu) > 1
