"""Bit operations of the stages of a config, and the word error rates that a run of it reached.

    python -m benchmarks.bit_operations --config=experiments/configs/precision_schedule.py \
        --workdir=workdir/schedule

Products are counted in the traced program of one utterance (``quant.bit_operations``), and a stage
trains as many seconds of audio as its batches hold at most. The unit is 10^15 multiplications of
one bit by one bit. *forward* counts the forward pass; *training* adds the products of gradients,
which are float32 in every stage, so that their share does not fall with the bits.
"""

import json
import pathlib

from absl import flags

from experiments.flags import define_config, experiment_config, run
from rnnt_qat.models.bit_operations import training_products
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.training.plan import with_steps
from rnnt_qat.training.stages import TrainingStage

_WORKDIR = flags.DEFINE_string("workdir", "", "A run of the config; empty to count alone.")
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Length of the counted utterance.")
_LABELS = flags.DEFINE_float("labels_per_second", 12.0, "Labels in a second of its speech.")
_CONFIG = define_config()
flags.mark_flag_as_required("config")


def reached(workdir: pathlib.Path, stage: str) -> tuple[int, str]:
    """Returns the steps that a stage left out and its lowest validation WER, as text."""
    lines = (workdir / "metrics.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["stage"] == stage]
    errors = [row["wer"] for row in rows if "wer" in row]
    left_out = sum(int(row.get("left_out_steps", 0)) for row in rows)
    return left_out, f"{min(errors):.1%}" if errors else "-"


def main() -> int:
    """Prints a row per stage and the sums."""
    config = experiment_config(_CONFIG)
    frames = round(1000 * _SECONDS.value / config.frontend.frame_ms)
    labels = round(_LABELS.value * _SECONDS.value)
    per_step = config.pipeline.batch_seconds / _SECONDS.value / 1e15
    print("| stage | precision | steps | forward | training | forward, cumulative | WER |")
    print("|---|---|---:|---:|---:|---:|---:|")
    total = 0.0
    for stage in with_steps(config.stages):
        policy = policy_by_name(stage.precision or config.precision)
        size = config.frontend.feature_size
        counts = training_products(config.model, policy, size, 1, frames, labels)
        left_out, wer = (
            reached(pathlib.Path(_WORKDIR.value), stage.name) if _WORKDIR.value else (0, "-")
        )
        steps = stage.steps - left_out
        forward = steps * per_step * sum(n * p.forward_bits for p, n in counts.items())
        training = steps * per_step * sum(n * p.training_bits() for p, n in counts.items())
        total += forward
        both = training if isinstance(stage, TrainingStage) else forward
        print(
            f"| {stage.name} | {policy.name} | {steps} | {forward:.3f} | {both:.3f} | "
            f"{total:.3f} | {wer} |"
        )
    return 0


if __name__ == "__main__":
    run(main)
