"""What decides an experiment: one frozen dataclass, composed of the rooms' own."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.frontend.frontend import FrontendConfig
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig
from rnnt_qat.infra.config import TYPE, ConfigError, class_path
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.input_pipeline.corpus import LETTERS
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.objectives import CTC, Transducer
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.objective import Objectives, WeightedObjective
from rnnt_qat.training.stages import (
    Calibration,
    Stage,
    TrainingStage,
    check_stages,
    default_stages,
    with_steps,
)
from rnnt_qat.training.task import FLOAT32


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
      objectives: what is minimised, in stages that name no objectives of their own.
      stages: what is done, one after the other: usually float training, calibration,
        accelerator-aware training.
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
    objectives: Objectives = (WeightedObjective("transducer", Transducer()),)
    stages: tuple[Stage, ...] = dataclasses.field(default_factory=default_stages)
    loop: LoopConfig = dataclasses.field(default_factory=LoopConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    seed: int = 0
    initialize_from: str = ""

    def __post_init__(self):
        policy_by_name(self.precision)
        check_stages(self.stages, self.precision)
        multiple, reduction = self.pipeline.frame_multiple, self.model.encoder.time_reduction
        if multiple % reduction:
            raise ValueError(
                f"pipeline.frame_multiple={multiple} must be a multiple of "
                f"model.encoder.time_reduction={reduction}"
            )

    def check_trainable(self) -> None:
        """Refuses a plan that trains nothing, or whose ranges are those of random parameters.

        This is no condition of a config: models that were trained elsewhere have such ones.

        Raises:
          ConfigError: names the fields to set.
        """
        stages = with_steps(self.stages)
        if not stages:
            raise ConfigError(
                "no stage has steps: set stages.float.steps, or the batches of a calibration"
            )
        if isinstance(stages[0], Calibration) and not self.initialize_from:
            raise ConfigError(
                f"stages.{stages[0].name} would calibrate random parameters: train before it "
                "(stages.float.steps > 0), or name a model in initialize_from"
            )

    @property
    def policy(self) -> PrecisionPolicy:
        """The accelerator's arithmetic."""
        return policy_by_name(self.precision)

    def stage(self, name: str) -> Stage:
        """Returns the stage of a name.

        Raises:
          KeyError: there is none.
        """
        return {stage.name: stage for stage in self.stages}[name]

    @classmethod
    def upgrade(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns JSON of any earlier version in today's form (see ``infra.config``)."""
        data = dict(data)
        if "loss" in data:
            data["objectives"] = _objectives_of_loss(data.pop("loss"))
        if isinstance(data.get("stages"), Mapping):
            data["stages"] = _stages_of_plan(data["stages"])
        return data


def _objectives_of_loss(loss: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was ``LossConfig``: the transducer's fields, and the weight of CTC beside it."""
    transducer = dict(loss)
    ctc_weight = transducer.pop("ctc_weight", 0.0)
    found = [("transducer", Transducer, transducer, 1.0), ("ctc", CTC, {}, ctc_weight)]
    return [
        {
            TYPE: class_path(WeightedObjective),
            "name": name,
            "objective": {TYPE: class_path(objective), **fields},
            "weight": weight,
        }
        for name, objective, fields, weight in found
        if weight
    ]


def _stages_of_plan(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was ``StagePlan``: three stages, always the same."""
    return [
        {
            TYPE: class_path(TrainingStage),
            "name": "float",
            "precision": FLOAT32,
            **plan["float_training"],
        },
        {TYPE: class_path(Calibration), "name": "calibration", **plan["calibration"]},
        {TYPE: class_path(TrainingStage), "name": "aware", **plan["aware_training"]},
    ]
