"""Prints the format of every tensor of a config's recognizer, and operators off its chip.

python -m experiments.formats --config=experiments/configs/prompts.py --config.precision=generic_nna
"""

from absl import flags

from experiments.flags import define_config, experiment_config, run
from rnnt_qat.quant.audit import require_on_chip
from rnnt_qat.serving.audit import audit
from rnnt_qat.serving.formats import tensor_rows, text_table

_CONFIG = define_config()
flags.mark_flag_as_required("config")


def main() -> None:
    """Prints the table of formats and the audit of the serving programs."""
    config = experiment_config(_CONFIG)
    print(text_table(tensor_rows(config.model, config.policy)))
    off_chip = audit(config.model, config.policy, config.frontend.feature_size)
    require_on_chip(off_chip)
    if not off_chip:
        print("\nAudit: every operator of the serving programs is an integer one of the chip.")
        return
    print("\nAudit: on the CPU, as the policy says:")
    for operator in off_chip:
        print(f"  {operator}")


if __name__ == "__main__":
    run(main)
