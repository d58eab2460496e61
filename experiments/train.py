"""Trains a recognizer (float, calibration, accelerator-aware), or resumes an interrupted run.

python -m experiments.train --config=experiments/configs/prompts.py --workdir=workdir/prompts
"""

import pathlib

from absl import flags

from experiments.flags import DATA_DIR, define_config, experiment_config, run, set_up_jax
from rnnt_qat.experiment.runner import Experiment
from rnnt_qat.training.signals import StoppedBySignal
from rnnt_qat.training.tracker import TRACKERS

_CONFIG = define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Takes checkpoints, records and models.", required=True
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


def main() -> int:
    """Trains to the end or until a signal; returns the exit code."""
    workdir = pathlib.Path(_WORKDIR.value)
    set_up_jax(several=True)
    config, data_dir = experiment_config(_CONFIG), pathlib.Path(DATA_DIR.value)
    experiment = Experiment(
        config, data_dir, workdir, diagnose=_DIAGNOSE.value, trackers=_TRACK.value
    )
    try:
        experiment.train()
    except StoppedBySignal as stopped:
        experiment.console.say(f"{stopped}; the same command goes on from there")
        return stopped.exit_code
    experiment.console.say(
        f"next: python -m experiments.evaluate --workdir={workdir} --data_dir={data_dir}"
    )
    return 0


if __name__ == "__main__":
    run(main)
