"""Flags that choose where the tasks of a study run."""

import functools
import pathlib
from collections.abc import Callable

import jax
from absl import flags

from experiments.flags import num_cpu_devices, set_up_devices
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress
from rnnt_qat.studies.engine import Engine, InProcess
from rnnt_qat.studies.process_engine import Processes
from rnnt_qat.studies.ray_engine import RayEngine

flags.disclaim_key_flags()  # they are the program's, in its `--help`


def define_engine() -> Callable[[pathlib.Path], Engine]:
    """Defines ``--engine``, ``--jobs`` and those of Ray.

    Returns:
      A function that creates the engine of the flags, given the folder of its tasks' logs. It
      raises ValidationError if the flags contradict each other or would share an accelerator, and
      RayError if the cluster cannot be used.
    """
    engine = flags.DEFINE_enum(
        "engine", "process", ["process", "ray"], "One policy after the other here, or many on Ray."
    )
    jobs = flags.DEFINE_integer(
        "jobs",
        1,
        "Policies to compute at a time on this machine's processor, each in a process of its own "
        "with --cpu_devices devices of one thread.",
        lower_bound=1,
    )
    address = flags.DEFINE_string(
        "ray_address",
        None,
        "With --engine=ray: HOST:PORT, ray://..., or auto for this machine's cluster; default: the "
        "cores of this machine.",
    )
    cpus = flags.DEFINE_float("ray_cpus", 1, "Cores of a policy.", lower_bound=0)
    gpus = flags.DEFINE_float("ray_gpus", 0, "Accelerators of a policy.", lower_bound=0)

    def create(log_dir: pathlib.Path) -> Engine:
        if engine.value == "ray":
            if jobs.value > 1:
                raise flags.ValidationError(
                    f"--jobs={jobs.value}: it is for --engine=process; Ray takes as many as "
                    "--ray_cpus leaves room for"
                )
            with Progress("connecting to Ray", Console(), remains=False):
                return RayEngine(
                    log_dir,
                    address=address.value,
                    cpus=cpus.value,
                    gpus=gpus.value,
                    setup=functools.partial(set_up_devices, num_cpu_devices()),
                )
        for flag in (address, cpus, gpus):
            if flag.value != flag.default:
                raise flags.ValidationError(
                    f"--{flag.name}={flag.value}: it is for Ray; add --engine=ray, or leave it out"
                )
        if jobs.value == 1:
            return InProcess()
        if (platform := jax.default_backend()) != "cpu":
            raise flags.ValidationError(
                f"--jobs={jobs.value}: its processes would share the {platform}; --engine=ray "
                "--ray_gpus=1 gives each an accelerator of its own"
            )
        setup = functools.partial(set_up_devices, num_cpu_devices(), beside_others=True)
        return Processes(jobs.value, log_dir, setup)

    return create
