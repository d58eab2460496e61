"""Prompts, commands, digits, wake phrases and short sentences: 2.2 M parameters.

`data/README.md` has the commands that prepare its corpora. It begins with the utterances of at most
four seconds, as they are; long ones before the encoder has learned anything cost time. The third
command goes on from the second's model, the rate high again and falling, and was run twice (with
``--config.seed=3`` from ``workdir/longer/models/float``):

python -m experiments.train --config=experiments/configs/assistant.py:short --workdir=workdir/short
python -m experiments.train --config=experiments/configs/assistant.py --workdir=workdir/assistant \
    --config.initialize_from=workdir/short/models/float
python -m experiments.train --config=experiments/configs/assistant.py --workdir=workdir/longer \
    --config.initialize_from=workdir/assistant/models/float --config.seed=2 \
    --config.stages.float.steps=6000

``assistant.py:gpu_short`` and ``assistant.py:gpu`` are the same in larger batches, for one large
GPU; ``experiments.train_within`` sets their steps by the time that there is.

``assistant.py:chip`` is for a sweep of chips over that model, on all of its speech:

python -m experiments.sweep --models=data/pretrained/assistant --workdir=workdir/chips \
    --config=experiments/configs/assistant.py:chip \
    --policies=ethos_u_8x8_16,ethos_u_8x8_16_w4,generic_nna_crude

``assistant.py:digits`` and ``assistant.py:telephone`` are its descendants, which hear digit strings
and telephone prompts alone:

python -m experiments.train --config=experiments/configs/assistant.py:digits --workdir=workdir/d

``assistant.py:digits_chip`` is for sweeps of chips over the first of them:

python -m experiments.sweep --models=data/pretrained/digits --workdir=workdir/map \
    --config=experiments/configs/assistant.py:digits_chip --map=generic_nna --aware_steps=0
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import prompts
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig
from rnnt_qat.infra.config_overrides import config_of
from rnnt_qat.input_pipeline.augmentation import WaveformAugmentation
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.training.checkpoints import CheckpointConfig
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32

LIBRISPEECH = "librispeech/dev_clean_part"
SINGLE_DIGITS = "synthetic_speech/single_digits_0.4h_3514152e"

DATA = DataConfig(
    train=(
        Split(prompts.PROMPTS, "train", repeats=4),
        Split(prompts.PROMPTS, "train", repeats=3, joined_seconds=16.0),
        Split(prompts.SYNTHETIC, "train"),
        Split("synthetic_speech/commands_1h", "train"),
        Split("synthetic_speech/digits_1h", "train"),
        Split("speechocean762", "train"),
        Split("connected_digits", "train"),
        Split("spoken_digits", "train"),
        Split("phrases/wake_words", "train"),
        Split(LIBRISPEECH, "train"),
        Split("librispeech/train_part", "train"),
        Split("librispeech/ljspeech", "train"),
    ),
    validation=(
        Split(prompts.PROMPTS, "validation"),
        Split("speechocean762", "validation"),
        Split("phrases/wake_words", "validation"),
    ),
    test=(
        Split(prompts.PROMPTS, "test"),
        Split(prompts.SYNTHETIC, "test"),
        Split("speechocean762", "test"),
        Split("speechocean762", "test_digits"),
        Split("connected_digits", "test"),
        Split("phrases/wake_words", "test"),
        Split(LIBRISPEECH, "test"),
    ),
    # Wake phrases and single digits are all that their corpora ever say.
    held_out=(
        Split(prompts.PROMPTS, "validation"),
        Split(prompts.PROMPTS, "test"),
        Split("speechocean762", "validation"),
        Split("speechocean762", "test"),
        Split("connected_digits", "test"),
        Split(LIBRISPEECH, "validation"),
        Split(LIBRISPEECH, "test"),
    ),
)


def experiment() -> ExperimentConfig:
    """Everything, at other levels; the rate falls to nothing."""
    return dataclasses.replace(
        prompts.experiment(),
        data=DATA,
        model=RNNTConfig(
            vocabulary=29,
            encoder=EncoderConfig(
                num_layers=3,
                hidden_size=288,
                layers_before_reduction=0,
                time_reduction=2,
                dropout_rate=0.05,
            ),
            prediction=LSTMPredictionConfig(embedding_size=64, hidden_size=160, dropout_rate=0.05),
            joint_size=192,
        ),
        pipeline=PipelineConfig(
            num_buckets=8,
            batch_seconds=60.0,
            max_seconds=17.0,
            frame_multiple=4,
            augmentation=WaveformAugmentation(
                speeds=(0.9, 1.0, 1.0, 1.1), gain_db=(-18.0, 8.0), offset=0.002
            ),
        ),
        precision="ethos_u_8x8_16",
        stages=(
            TrainingStage(
                "float",
                precision=FLOAT32,
                steps=8800,
                optimizer=OptimizerConfig(
                    learning_rate=1.5e-3,
                    warmup_steps=200,
                    decay="linear",
                    final_fraction=0.01,
                    ema_decay=0.998,
                ),
            ),
            Calibration(batches=0),
            TrainingStage("aware", steps=0),
        ),
        loop=LoopConfig(log_every=50, evaluate_every=2500, checkpoint=CheckpointConfig(every=200)),
    )


def short() -> ExperimentConfig:
    """The beginning: nothing longer than four seconds, nothing altered, at a constant rate."""
    whole = experiment()
    return dataclasses.replace(
        whole,
        spec_augment=SpecAugmentConfig(freq_masks=1, freq_mask_bins=10, max_time_masks=0),
        pipeline=PipelineConfig(
            num_buckets=2, batch_seconds=60.0, max_seconds=4.0, frame_multiple=4
        ),
        stages=(
            TrainingStage(
                "float",
                precision=FLOAT32,
                steps=2000,
                optimizer=OptimizerConfig(
                    learning_rate=2.5e-3, warmup_steps=30, decay="constant", ema_decay=0.998
                ),
            ),
            Calibration(batches=0),
            TrainingStage("aware", steps=0),
        ),
    )


def gpu() -> ExperimentConfig:
    """Everything in batches of eight minutes: a GPU waits for loops, not for products."""
    return _on_gpu(
        experiment(),
        num_buckets=4,
        optimizer=OptimizerConfig(
            learning_rate=3e-3,
            warmup_steps=200,
            decay="linear",
            final_fraction=0.01,
            ema_decay=0.998,
        ),
    )


def gpu_short() -> ExperimentConfig:
    """The beginning on a GPU: nothing longer than four seconds, at a constant rate."""
    return _on_gpu(
        short(),
        num_buckets=1,
        optimizer=OptimizerConfig(
            learning_rate=3e-3, warmup_steps=100, decay="constant", ema_decay=0.99
        ),
    )


def _on_gpu(
    whole: ExperimentConfig, num_buckets: int, optimizer: OptimizerConfig
) -> ExperimentConfig:
    """Larger batches, few shapes to compile, features on the device, audio kept in memory.

    An hour of synthetic prompts instead of four: packed for a machine without a network, the rest
    is then smaller than 60 MB at a bit rate that keeps the whole band.
    """
    fewer = tuple(
        dataclasses.replace(split, corpus="synthetic_speech/prompts_1.2h")
        if split.corpus == prompts.SYNTHETIC
        else split
        for split in whole.data.train
    )
    return dataclasses.replace(
        whole,
        data=dataclasses.replace(whole.data, train=fewer),
        pipeline=dataclasses.replace(
            whole.pipeline,
            num_buckets=num_buckets,
            batch_seconds=480.0,
            features_on_host=False,
            cache_bytes=16 << 30,
            read_threads=16,
            prefetch_batches=16,
        ),
        stages=tuple(
            dataclasses.replace(stage, optimizer=optimizer)
            if isinstance(stage, TrainingStage) and stage.name == "float"
            else stage
            for stage in whole.stages
        ),
        loop=LoopConfig(log_every=50, evaluate_every=10**6, checkpoint=CheckpointConfig(every=500)),
    )


def chip() -> ExperimentConfig:
    """Calibration and a tenth of the float steps through a chip; four shapes compile sooner."""
    whole = experiment()
    return dataclasses.replace(
        whole,
        pipeline=dataclasses.replace(whole.pipeline, num_buckets=4),
        stages=(
            TrainingStage("float", precision=FLOAT32),  # a sweep leaves it out
            Calibration(batches=20),
            TrainingStage(
                "aware",
                steps=1500,
                optimizer=OptimizerConfig(
                    learning_rate=1e-3,
                    warmup_steps=50,
                    decay="linear",
                    final_fraction=0.01,
                    ema_decay=0.995,
                ),
            ),
        ),
        loop=dataclasses.replace(whole.loop, evaluate_every=500),
    )


def digits() -> ExperimentConfig:
    """Digit strings alone; foreign accents, speeds that make other speakers, half at 8 kHz."""
    return _descendant(
        DataConfig(
            train=(
                Split("connected_digits", "train", repeats=2),
                Split("spoken_digits", "train", joined_seconds=6.0),
                Split("synthetic_speech/digits_1h", "train"),
                Split(SINGLE_DIGITS, "train", repeats=2),
                Split("speechocean762", "train_digits", repeats=16),
                Split("speechocean762", "train_digits", repeats=16, joined_seconds=10.0),
            ),
            validation=(
                Split("speechocean762", "validation_digits"),
                Split("synthetic_speech/digits_1h", "validation"),
                Split(SINGLE_DIGITS, "validation"),
            ),
            test=(
                Split("connected_digits", "test"),
                Split("speechocean762", "test_digits"),
                Split("synthetic_speech/digits_1h", "test"),
            ),
            held_out=(Split("connected_digits", "test"), Split("speechocean762", "test_digits")),
        ),
        WaveformAugmentation(
            speeds=(0.75, 0.85, 0.95, 1.05, 1.15, 1.25),
            gain_db=(-18.0, 8.0),
            noise_probability=0.3,
            room_probability=0.3,
            half_band_probability=0.5,
            offset=0.002,
        ),
    )


def digits_chip() -> ExperimentConfig:
    """For sweeps of chips over the recognizer of digit strings: one shape, and people alone."""
    whole = digits()
    return dataclasses.replace(
        whole,
        data=dataclasses.replace(
            whole.data,
            test=(Split("connected_digits", "test"), Split("speechocean762", "test_digits")),
        ),
        pipeline=dataclasses.replace(whole.pipeline, num_buckets=1, max_seconds=12.0),
    )


def telephone() -> ExperimentConfig:
    """Telephone prompts, recorded and synthetic, alone."""
    return _descendant(
        DataConfig(
            train=(
                Split(prompts.PROMPTS, "train", repeats=3),
                Split(prompts.PROMPTS, "train", repeats=3, joined_seconds=16.0),
                Split(prompts.SYNTHETIC, "train"),
            ),
            validation=(
                Split(prompts.PROMPTS, "validation"),
                Split(prompts.SYNTHETIC, "validation"),
            ),
            test=(Split(prompts.PROMPTS, "test"), Split(prompts.SYNTHETIC, "test")),
        ),
        experiment().pipeline.augmentation,
    )


def _descendant(data: DataConfig, augmentation: WaveformAugmentation) -> ExperimentConfig:
    """Some thousand steps more of the shipped recognizer on a part of its speech."""
    whole = experiment()
    return dataclasses.replace(
        whole,
        initialize_from="data/pretrained/assistant",
        data=data,
        pipeline=dataclasses.replace(whole.pipeline, num_buckets=5, augmentation=augmentation),
        stages=(
            TrainingStage(
                "float",
                precision=FLOAT32,
                steps=2000,
                optimizer=OptimizerConfig(
                    learning_rate=1e-3,
                    warmup_steps=100,
                    decay="linear",
                    final_fraction=0.01,
                    ema_decay=0.995,
                ),
            ),
            Calibration(batches=20),
            TrainingStage(
                "aware",
                steps=300,
                optimizer=OptimizerConfig(learning_rate=3e-4, warmup_steps=30, ema_decay=0.99),
            ),
        ),
        loop=LoopConfig(log_every=50, evaluate_every=500, checkpoint=CheckpointConfig(every=250)),
    )


def get_config(variant: str = "experiment") -> ConfigDict:
    """The fields to override."""
    variants = {
        "experiment": experiment,
        "short": short,
        "gpu": gpu,
        "gpu_short": gpu_short,
        "chip": chip,
        "digits": digits,
        "digits_chip": digits_chip,
        "telephone": telephone,
    }
    return config_of(variant, variants)
