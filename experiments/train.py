"""Trains a recognizer (float, calibration, accelerator-aware), or resumes an interrupted run.

python -m experiments.train --config=experiments/configs/prompts.py --workdir=workdir/prompts
"""

import pathlib

import jax
from absl import flags

from experiments import next_steps
from experiments.flags import (
    DATA_DIR,
    define_config,
    experiment_config,
    may_be_remote,
    run,
    set_up_jax,
)
from rnnt_qat.experiment.remote_paths import open_workdir
from rnnt_qat.experiment.runner import Experiment
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.processes import end_together
from rnnt_qat.training.signals import StoppedBySignal
from rnnt_qat.training.tracker import TRACKERS

_CONFIG = define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Takes checkpoints, records and models: a folder, or s3://, gs:// (extra: remote).",
    required=True,
)
_DIAGNOSE = flags.DEFINE_bool(
    "diagnose", False, "Record saturation, headroom and noise of every operator at evaluations."
)
_TRACK = flags.DEFINE_list(
    "track",
    [],
    f"Services that receive the records too, by comma: {', '.join(TRACKERS)} (extras of the same "
    "names; MLFLOW_TRACKING_URI and WANDB_MODE say where).",
)
flags.mark_flag_as_required("config")
may_be_remote(_WORKDIR)


def main() -> int:
    """Trains to the end or until a signal; returns the exit code."""
    set_up_jax(several=True)
    config, data_dir = experiment_config(_CONFIG), pathlib.Path(DATA_DIR.value)
    console = Console(period_seconds=config.loop.console_seconds, enabled=not jax.process_index())
    try:
        with open_workdir(_WORKDIR.value, console) as workdir:
            Experiment(
                config,
                data_dir,
                workdir.path,
                console,
                diagnose=_DIAGNOSE.value,
                trackers=_TRACK.value,
                workdir_name=workdir.name,
                saved=workdir.check,
            ).train()
    except StoppedBySignal as stopped:
        console.say(f"{stopped}; the same command goes on from there")
        end_together()
        return stopped.exit_code
    console.say(next_steps.evaluation(workdir.name))
    end_together()
    return 0


if __name__ == "__main__":
    run(main)
