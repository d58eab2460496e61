"""LibriSpeech, at the size of the MLPerf RNN-T benchmark, and a part of it for small machines.

The model is that of MLPerf inference v0.7 (45 M parameters): 80 mel bins of 20/10 ms stacked three
at a time, two LSTM layers of 1024, pairs of frames joined, three more; prediction network of two
LSTM layers of 320; joint of 512; characters. Its authors report 7.45 % WER on dev-clean, in
floating point, after training on all 960 hours. Training it is meant for accelerators.

python -m data.prepare --corpora=librispeech --librispeech_dir=LibriSpeech \
    --librispeech_config=full_960
python -m experiments.train --config=experiments/configs/librispeech.py --workdir=workdir/960

``librispeech.py:word_pieces`` has a wider prediction network over SentencePiece units.
``librispeech.py:by_speaker`` trains a small model on a folder of some speakers, split by speaker;
start it from speech already learned with ``--config.initialize_from=workdir/large/models/float``.
``librispeech.py:fine_tune`` goes on from the shipped model, whose sizes it has.
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import assistant, prompts, prompts_large
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.frontend.frontend import FrontendConfig
from rnnt_qat.frontend.log_mel import MLPERF
from rnnt_qat.infra.config_overrides import config_of
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.training.checkpoints import CheckpointConfig
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32


def full_960() -> ExperimentConfig:
    """45 M parameters, 960 hours."""
    corpus = "librispeech/full_960"
    return ExperimentConfig(
        data=DataConfig(
            train=(Split(corpus, "train"),),
            validation=(Split(corpus, "validation"),),
            test=(Split(corpus, "test"), Split(corpus, "test_other")),
            statistics_utterances=5000,
        ),
        model=RNNTConfig(
            vocabulary=29,
            encoder=EncoderConfig(
                num_layers=5,
                hidden_size=1024,
                layers_before_reduction=2,
                time_reduction=2,
                dropout_rate=0.1,
            ),
            prediction=LSTMPredictionConfig(
                embedding_size=320, hidden_size=320, num_layers=2, dropout_rate=0.3
            ),
            joint_size=512,
        ),
        frontend=FrontendConfig(log_mel=MLPERF, stack=3),
        pipeline=PipelineConfig(
            num_buckets=6,
            batch_seconds=12_000.0,
            max_seconds=17.0,
            features_on_host=False,
            augmentation=dataclasses.replace(prompts.LEVELS, speeds=(0.9, 1.0, 1.1)),
            cache_bytes=0,
            read_threads=16,
            prefetch_batches=8,
        ),
        stages=(
            TrainingStage(
                "float",
                precision=FLOAT32,
                steps=20_000,
                optimizer=OptimizerConfig(learning_rate=4e-3, warmup_steps=1600, ema_decay=0.999),
                bfloat16=True,
            ),
            Calibration(batches=100),
            TrainingStage(
                "aware",
                steps=3000,
                optimizer=OptimizerConfig(learning_rate=2e-4, warmup_steps=100, ema_decay=0.999),
            ),
        ),
        loop=LoopConfig(log_every=50, evaluate_every=2000, checkpoint=CheckpointConfig(every=1000)),
    )


def word_pieces() -> ExperimentConfig:
    """Five layers of 1024 over SentencePiece units, a prediction network as wide: 61 M parameters.

    The size of the recognizers that accelerator-aware training was published for.
    """
    characters = full_960()
    return dataclasses.replace(
        characters,
        data=dataclasses.replace(characters.data, sentencepiece=2500),
        model=dataclasses.replace(
            characters.model,
            vocabulary=2500,
            prediction=LSTMPredictionConfig(
                embedding_size=512, hidden_size=1024, num_layers=2, dropout_rate=0.3
            ),
        ),
    )


def by_speaker() -> ExperimentConfig:
    """The size of ``prompts_large``, on one folder of speakers."""
    corpus = "librispeech/by_speaker"
    return dataclasses.replace(
        prompts_large.experiment(),
        data=DataConfig(
            train=(Split(corpus, "train"),),
            validation=(Split(corpus, "validation"),),
            test=(Split(corpus, "test"),),
        ),
        pipeline=PipelineConfig(
            num_buckets=5,
            batch_seconds=90.0,
            frame_multiple=4,
            augmentation=dataclasses.replace(prompts.LEVELS, speeds=(0.9, 1.0, 1.1)),
        ),
        stages=(
            TrainingStage(
                "float",
                precision=FLOAT32,
                steps=4000,
                optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=400),
            ),
            Calibration(batches=30),
            TrainingStage(
                "aware", steps=500, optimizer=OptimizerConfig(learning_rate=2e-4, warmup_steps=50)
            ),
        ),
    )


def fine_tune() -> ExperimentConfig:
    """A folder of one's own speech, from ``data/pretrained/assistant``, at its sizes and features.

    A seventh of the rate that the model was trained at, and few steps: what was learned is to be
    moved, not replaced. With minutes of speech, expect the words and the voice of those minutes to
    be recognized better, and little else; measure it on speech that was kept out.
    """
    optimizer = OptimizerConfig(learning_rate=3e-4, warmup_steps=30, ema_decay=0.99)
    own, base = by_speaker(), assistant.experiment()
    return dataclasses.replace(
        own,
        model=base.model,
        frontend=base.frontend,
        precision=base.precision,
        pipeline=dataclasses.replace(own.pipeline, num_buckets=2, batch_seconds=60.0),
        stages=(
            TrainingStage("float", precision=FLOAT32, steps=300, optimizer=optimizer),
            Calibration(batches=10),
            TrainingStage(
                "aware", steps=100, optimizer=dataclasses.replace(optimizer, learning_rate=1e-4)
            ),
        ),
        loop=dataclasses.replace(own.loop, evaluate_every=100),
    )


def get_config(variant: str = "full_960") -> ConfigDict:
    """The fields to override."""
    made = (full_960, word_pieces, by_speaker, fine_tune)
    variants = {make.__name__: make for make in made}
    return config_of(variant, variants)
