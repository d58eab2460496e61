"""The shipped recognizer trained on longer streams: utterances of one speaker joined to 16 s.

python -m data.prepare --corpora=asterisk_prompts,synthetic_speech --synthetic_hours=4
for variant in joined alone; do
  python -m experiments.train --config=experiments/configs/long_streams.py:$variant \
      --workdir=workdir/$variant
done
python -m benchmarks.long_form --model=workdir/joined/models/float

``alone`` has the same steps on the same utterances, one at a time. A model that has heard only the
beginnings of streams meets states in a long one that it never had in training.
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import assistant, prompts
from rnnt_qat.experiment.config import ExperimentConfig, Split
from rnnt_qat.infra.config_overrides import config_of
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import TrainingStage
from rnnt_qat.training.task import FLOAT32


def experiment(joined_seconds: float = 16.0) -> ExperimentConfig:
    """Some hundred steps of floating point on telephone prompts.

    Args:
      joined_seconds: greatest length of joined utterances; 0 leaves them alone.
    """
    whole = assistant.telephone()
    return dataclasses.replace(
        whole,
        data=dataclasses.replace(
            whole.data,
            train=(
                Split(prompts.PROMPTS, "train", repeats=3, joined_seconds=joined_seconds),
                Split(prompts.SYNTHETIC, "train", joined_seconds=joined_seconds),
            ),
        ),
        pipeline=dataclasses.replace(whole.pipeline, num_buckets=2),
        stages=(
            TrainingStage(
                "float",
                precision=FLOAT32,
                steps=600,
                optimizer=OptimizerConfig(
                    learning_rate=5e-4,
                    warmup_steps=20,
                    decay="linear",
                    final_fraction=0.01,
                    ema_decay=0.98,
                ),
            ),
        ),
        loop=dataclasses.replace(whole.loop, evaluate_every=300),
    )


def get_config(variant: str = "joined") -> ConfigDict:
    """The fields to override."""
    return config_of(variant, {"joined": experiment, "alone": lambda: experiment(0.0)})
