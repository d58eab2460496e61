"""The main job: telephone prompts after synthetic speech, then through 8-bit integer products.

python -m data.prepare --corpora=asterisk_prompts,synthetic_speech
python -m experiments.train --config=experiments/configs/prompts.py --workdir=workdir/prompts
"""

from ml_collections import ConfigDict

from rnnt_qat.config import config_dict
from rnnt_qat.experiment_config import DataConfig, ExperimentConfig, Split
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.training.checkpoints import CheckpointConfig
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import AwareTraining, Calibration, FloatTraining, StagePlan


def get_config() -> ConfigDict:
    """About 1 M parameters, 15 minutes on two cores."""
    return config_dict(
        ExperimentConfig(
            data=DataConfig(
                train=(
                    Split("asterisk_prompts", "train", repeats=3),
                    Split("synthetic_speech", "train"),
                ),
                validation=(
                    Split("asterisk_prompts", "validation"),
                    Split("synthetic_speech", "validation"),
                ),
                test=(Split("asterisk_prompts", "test"), Split("synthetic_speech", "test")),
            ),
            model=RNNTConfig(
                vocabulary=29,
                encoder=EncoderConfig(
                    num_layers=2, hidden_size=224, layers_before_reduction=0, time_reduction=2
                ),
                prediction=LSTMPredictionConfig(embedding_size=64, hidden_size=128),
                joint_size=128,
            ),
            pipeline=PipelineConfig(batch_seconds=60.0, frame_multiple=4),
            stages=StagePlan(
                FloatTraining(
                    steps=2400, optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=200)
                ),
                Calibration(batches=20),
                AwareTraining(
                    steps=400, optimizer=OptimizerConfig(learning_rate=3e-4, warmup_steps=20)
                ),
            ),
            loop=LoopConfig(
                log_every=20, evaluate_every=400, checkpoint=CheckpointConfig(every=400)
            ),
        )
    )
