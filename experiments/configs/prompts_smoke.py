"""A minute of the main job's code on the prompts alone: does it run? Its WER says nothing.

python -m data.prepare --corpora=asterisk_prompts
python -m experiments.train --config=experiments/configs/prompts_smoke.py --workdir=workdir/smoke
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import prompts
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.infra.config_overrides import config_dict
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.training.checkpoints import CheckpointConfig
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32


def experiment() -> ExperimentConfig:
    """Forty steps of a small model, through every stage."""
    optimizer = OptimizerConfig(learning_rate=3e-3, warmup_steps=5)
    return dataclasses.replace(
        prompts.experiment(),
        data=DataConfig(
            train=(Split(prompts.PROMPTS, "train"),),
            validation=(Split(prompts.PROMPTS, "validation"),),
            test=(Split(prompts.PROMPTS, "test"),),
            statistics_utterances=50,
        ),
        model=RNNTConfig(
            vocabulary=29,
            encoder=EncoderConfig(num_layers=1, hidden_size=32, layers_before_reduction=0),
            prediction=LSTMPredictionConfig(embedding_size=16, hidden_size=32),
            joint_size=32,
        ),
        pipeline=PipelineConfig(
            num_buckets=2, batch_seconds=20.0, max_seconds=5.0, frame_multiple=4
        ),
        stages=(
            TrainingStage("float", precision=FLOAT32, steps=24, optimizer=optimizer),
            Calibration(batches=4),
            TrainingStage("aware", steps=12, optimizer=optimizer),
        ),
        loop=LoopConfig(log_every=4, evaluate_every=100, checkpoint=CheckpointConfig(every=10)),
    )


def get_config() -> ConfigDict:
    """The fields to override."""
    return config_dict(experiment())
