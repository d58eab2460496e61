"""Precision policies over one float model: calibrate (and train through), evaluate, compare.

python -m experiments.sweep --model=workdir/prompts/models/float --workdir=workdir/prompts_sweep
python -m experiments.sweep --model=... --workdir=... --policy=w8a8 --policy=w4a8 --aware_steps=400
"""

import pathlib

from absl import flags

from experiments.flags import DATA_DIR, run, set_up_jax
from rnnt_qat.comparison import compare_recognizers, write_comparison
from rnnt_qat.evaluation.report import by_test_set
from rnnt_qat.quant.policies import POLICIES
from rnnt_qat.sweep import SweepConfig, sweep, write_table
from rnnt_qat.training.console import Console
from rnnt_qat.training.signals import StoppedBySignal

_MODEL = flags.DEFINE_string("model", None, "Directory of a float model.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Takes experiments and report.", required=True)
_POLICIES = flags.DEFINE_multi_enum(
    "policy", list(SweepConfig.policies), sorted(POLICIES), "A precision policy; repeatable."
)
_AWARE_STEPS = flags.DEFINE_integer(
    "aware_steps", 0, "Accelerator-aware training steps; 0: calibration alone.", lower_bound=0
)


def main() -> int:
    """Runs the grid, then compares on the model's test sets."""
    workdir, data_dir = pathlib.Path(_WORKDIR.value), pathlib.Path(DATA_DIR.value)
    set_up_jax(workdir)
    console = Console()
    config = SweepConfig(tuple(_POLICIES.value), _AWARE_STEPS.value)
    try:
        recognizers = sweep(pathlib.Path(_MODEL.value), config, data_dir, workdir, console)
    except StoppedBySignal as stopped:
        console.say(f"{stopped}; the same command goes on from there")
        return stopped.exit_code
    base = next(iter(recognizers.values()))
    splits, evaluation = base.config.data.test, base.config.evaluation
    results = compare_recognizers(recognizers, splits, evaluation, data_dir, console)
    report = write_comparison(workdir / "report", results, data_dir, base)
    for number, group in enumerate(by_test_set(results).values()):
        write_table(workdir / "report" / f"table_{number}.csv", group)
    console.say(f"wrote {report}")
    return 0


if __name__ == "__main__":
    run(main)
