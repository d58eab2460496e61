"""Writes a model directory of half the size: parameters in 16 bits.

python -m experiments.compact --model=workdir/a/models/float --output=data/pretrained/a
"""

import pathlib

from absl import flags

from experiments import next_steps
from experiments.flags import output_folder, run
from rnnt_qat.experiment.compact import compact
from rnnt_qat.experiment.recognizer import Recognizer

_MODEL = flags.DEFINE_string("model", None, "A model directory.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Takes the smaller one.", required=True)


def main() -> None:
    """Reads a model directory, rounds its parameters and writes the result."""
    output = output_folder(_OUTPUT, pathlib.Path(_OUTPUT.value))
    compact(Recognizer.load(pathlib.Path(_MODEL.value))).save(output)
    print(f"{output}: {sum(p.stat().st_size for p in output.iterdir()) / 1e6:.2f} MB")
    print(next_steps.on_corpora("experiments.evaluate", {"models": str(output)}))


if __name__ == "__main__":
    run(main)
