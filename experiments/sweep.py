"""Precision policies over float models: calibrate, train through the chip, evaluate, compare.

python -m experiments.sweep --models=workdir/prompts/models/float
python -m experiments.sweep --models=seed0/models/float,seed1/models/float,seed2/models/float \
    --policies=w8a8,generic_nna,generic_nna_w4 --aware_steps=500 --workdir=workdir/grid
"""

import pathlib

from absl import flags

from experiments.flags import DATA_DIR, run, set_up_jax
from rnnt_qat.comparison import compare_recognizers, write_comparison
from rnnt_qat.evaluation.report import by_test_set
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.recognizer import Recognizer
from rnnt_qat.sweep import SweepConfig, pool, sweep, write_table
from rnnt_qat.training.console import Console
from rnnt_qat.training.signals import StoppedBySignal

_MODELS = flags.DEFINE_list("models", None, "Float models: one config, its seeds.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Default: `sweep` beside the first's `models`.")
_POLICIES = flags.DEFINE_list("policies", list(SweepConfig.policies), "Precision policies.")
_AWARE_STEPS = flags.DEFINE_integer(
    "aware_steps", 0, "Accelerator-aware training steps; 0: calibration alone.", lower_bound=0
)


def main() -> int:
    """Runs the grid, then compares on the first model's test sets."""
    models, data_dir = [pathlib.Path(m) for m in _MODELS.value], pathlib.Path(DATA_DIR.value)
    default = models[0].absolute().parents[1] / "sweep"
    workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else default
    config = SweepConfig(tuple(policy_by_name(p).name for p in _POLICIES.value), _AWARE_STEPS.value)
    set_up_jax(workdir)
    console, base = Console(), Recognizer.load(models[0])
    splits, evaluation = base.config.data.test, base.config.evaluation
    runs = []
    try:
        for number, model in enumerate(models):
            recognizers = sweep(model, config, data_dir, workdir / f"model_{number}", console)
            runs.append(compare_recognizers(recognizers, splits, evaluation, data_dir, console))
    except StoppedBySignal as stopped:
        console.say(f"{stopped}; the same command goes on from there")
        return stopped.exit_code
    report = write_comparison(workdir / "report", pool(runs), data_dir, base)
    for number, groups in enumerate(zip(*(by_test_set(r).values() for r in runs), strict=True)):
        write_table(workdir / "report" / f"table_{number}.csv", groups)
    console.say(f"wrote {report}")
    return 0


if __name__ == "__main__":
    run(main)
