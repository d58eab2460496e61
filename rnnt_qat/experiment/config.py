"""What decides an experiment: one frozen dataclass, composed of the rooms' own."""

import dataclasses

from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment.task import LossConfig
from rnnt_qat.frontend.frontend import FrontendConfig
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.input_pipeline.corpus import LETTERS
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.stages import StagePlan


@dataclasses.dataclass(frozen=True)
class Split:
    """A part of a prepared corpus.

    Attributes:
      corpus: name, as ``open_corpus`` takes it.
      split: ``train``, ``validation``, ``test`` or another of the corpus' own.
      repeats: how often its utterances come in an epoch of training.
      joined_seconds: in training, utterances of one speaker are joined to lengths up to this;
        0 leaves them as they are.
    """

    corpus: str
    split: str
    repeats: int = 1
    joined_seconds: float = 0.0

    @property
    def name(self) -> str:
        """Name in reports and metrics."""
        return f"{self.corpus}:{self.split}"

    @classmethod
    def parse(cls, name: str) -> "Split":
        """Inverse of ``name``.

        Raises:
          ConfigError: if there is no colon.
        """
        corpus, colon, split = name.rpartition(":")
        if not colon:
            raise ConfigError(f"{name!r} is not CORPUS:SPLIT, e.g. asterisk_prompts:test")
        return cls(corpus, split)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What is learned from, and what is measured on.

    Attributes:
      train: mixed into one stream.
      validation: measured during training; their mean WER selects checkpoints.
      test: measured by ``evaluate``.
      sentencepiece: units of a SentencePiece model trained on the training texts, blank included;
        0 spells by characters.
      characters: what a character tokenizer spells: those of the corpora's language, the space
        first. ``model.vocabulary`` is one more.
      statistics_utterances: recordings that the features' mean and deviation are measured on.
      held_out: parts whose texts are not to be learned: what training would say word for word as
        one of their utterances is left out, and counted.
    """

    train: tuple[Split, ...]
    validation: tuple[Split, ...]
    test: tuple[Split, ...]
    sentencepiece: int = 0
    statistics_utterances: int = 500
    held_out: tuple[Split, ...] = ()
    characters: str = LETTERS


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides what a run computes, but for the corpora's own content.

    Attributes:
      data: corpora and tokenizer.
      model: sizes.
      precision: line or name of the accelerator's policy (``rnnt_qat.quant.grammar``).
      frontend: audio to features.
      spec_augment: masks on training features.
      pipeline: training batches.
      loss: the transducer loss.
      stages: float training, calibration, accelerator-aware training.
      loop: rhythm of records, evaluations and checkpoints.
      evaluation: streaming decoding.
      seed: of parameters, shuffling, augmentation and dropout.
      initialize_from: model directory that gives parameters, tokenizer and feature statistics;
        empty: random parameters, and the others from the training data.
    """

    data: DataConfig
    model: RNNTConfig
    precision: str = "w8a8"
    frontend: FrontendConfig = dataclasses.field(default_factory=FrontendConfig)
    spec_augment: SpecAugmentConfig = dataclasses.field(default_factory=SpecAugmentConfig)
    pipeline: PipelineConfig = dataclasses.field(default_factory=PipelineConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    stages: StagePlan = dataclasses.field(default_factory=StagePlan)
    loop: LoopConfig = dataclasses.field(default_factory=LoopConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    seed: int = 0
    initialize_from: str = ""

    def __post_init__(self):
        policy_by_name(self.precision)
        multiple, reduction = self.pipeline.frame_multiple, self.model.encoder.time_reduction
        if multiple % reduction:
            raise ValueError(
                f"pipeline.frame_multiple={multiple} must be a multiple of "
                f"model.encoder.time_reduction={reduction}"
            )

    @property
    def policy(self) -> PrecisionPolicy:
        """The accelerator's arithmetic."""
        return policy_by_name(self.precision)
