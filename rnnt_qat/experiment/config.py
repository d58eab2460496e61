"""Config of an experiment: a frozen dataclass composed of the packages' configs."""

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
from rnnt_qat.training.plan import check_stages, default_stages, with_steps
from rnnt_qat.training.stages import Calibration, Stage, TrainingStage
from rnnt_qat.training.task import FLOAT32


@dataclasses.dataclass(frozen=True)
class Split:
    """A part of a prepared corpus.

    Attributes:
      corpus: name of the corpus, as for ``open_corpus``.
      split: ``train``, ``validation``, ``test`` or another split of the corpus.
      repeats: number of times its utterances occur in an epoch of training.
      joined_seconds: maximum length in seconds to which utterances of one speaker are joined in
        training; 0 disables joining.
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
        """Parses a split from its ``name``.

        Raises:
          ConfigError: if the name has no colon.
        """
        corpus, colon, split = name.rpartition(":")
        if not colon:
            raise ConfigError(f"{name!r} is not CORPUS:SPLIT, e.g. asterisk_prompts:test")
        return cls(corpus, split)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Corpora and tokenizer of an experiment.

    Attributes:
      train: training splits, mixed into one stream.
      validation: splits evaluated during training; their mean WER selects checkpoints.
      test: splits evaluated by ``evaluate``.
      sentencepiece: vocabulary size, including blank, of a SentencePiece model trained on the
        training transcripts; 0 selects a character tokenizer.
      characters: alphabet of the character tokenizer, starting with the space.
        ``model.vocabulary`` is one larger.
      statistics_utterances: number of utterances from which the features' mean and standard
        deviation are computed.
      held_out: splits whose transcripts are excluded from training. Training utterances with an
        identical transcript are removed and counted.
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
    """Everything that determines what a run computes, except for the corpora's content.

    Attributes:
      data: corpora and tokenizer.
      model: architecture of the network.
      precision: line or name of the accelerator's policy (``rnnt_qat.quant.grammar``).
      frontend: computation of features from audio.
      spec_augment: masking of training features.
      pipeline: batching of training data.
      objectives: objectives of stages that name none of their own.
      stages: stages in order, usually float training, calibration and accelerator-aware training.
      loop: intervals of records, evaluations and checkpoints.
      evaluation: streaming decoding of test sets.
      seed: seed of parameters, shuffling, augmentation and dropout.
      initialize_from: model directory that provides parameters, tokenizer and feature statistics;
        empty for random parameters and a tokenizer and statistics from the training data.
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
        """Checks that the plan has steps and does not calibrate random parameters.

        The constructor does not check this, because configs of models that were trained elsewhere
        may have such plans.

        Raises:
          ConfigError: if it does not; the message names the fields to set.
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
        """Precision policy of the accelerator."""
        return policy_by_name(self.precision)

    def stage(self, name: str) -> Stage:
        """Returns the stage with this name.

        Raises:
          KeyError: if there is none.
        """
        return {stage.name: stage for stage in self.stages}[name]

    @classmethod
    def upgrade(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Converts JSON of any earlier version to the current form (see ``infra.config``)."""
        data = dict(data)
        if isinstance(data.get("loss"), Mapping):
            data["objectives"] = _objectives_of_loss(data.pop("loss"))
        if isinstance(data.get("stages"), Mapping):
            data["stages"] = _stages_of_plan(data["stages"])
        return data


def _objectives_of_loss(loss: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Converts a former ``LossConfig``: the transducer's fields and the weight of CTC."""
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
    """Converts a former ``StagePlan``, which had three fixed stages.

    Raises:
      ConfigError: if one of them is missing, or there is a field beside them.
    """
    names = {"float_training", "calibration", "aware_training"}
    for name in sorted(names.symmetric_difference(plan.keys() - {TYPE})):
        raise ConfigError(f"stages.{name}: {'missing' if name in names else 'no such stage'}")
    for name in sorted(names):
        if not isinstance(plan[name], Mapping):
            raise ConfigError(f"stages.{name}: {plan[name]!r} holds no fields")
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
