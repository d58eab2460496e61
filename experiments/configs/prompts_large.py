"""The main job with a larger model and more time: about an hour on one core.

python -m data.prepare --corpora=asterisk_prompts,synthetic_speech --synthetic_hours=4
python -m experiments.train --config=experiments/configs/prompts_large.py --workdir=workdir/large
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import prompts
from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.infra.config_overrides import config_dict
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32


def experiment() -> ExperimentConfig:
    """About 3 M parameters."""
    return dataclasses.replace(
        prompts.experiment(),
        model=RNNTConfig(
            vocabulary=29,
            encoder=EncoderConfig(
                num_layers=3,
                hidden_size=320,
                layers_before_reduction=0,
                time_reduction=2,
                dropout_rate=0.1,
            ),
            prediction=LSTMPredictionConfig(embedding_size=96, hidden_size=224, dropout_rate=0.1),
            joint_size=224,
        ),
        stages=(
            TrainingStage(
                "float",
                precision=FLOAT32,
                steps=5000,
                optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=400),
            ),
            Calibration(batches=50),
            TrainingStage(
                "aware", steps=500, optimizer=OptimizerConfig(learning_rate=2e-4, warmup_steps=50)
            ),
        ),
    )


def get_config() -> ConfigDict:
    """The fields to override."""
    return config_dict(experiment())
