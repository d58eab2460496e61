"""An artefact as a recognizer that can be evaluated and changed in batches."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from rnnt_qat.artefact.artefact import Artefact, ArtefactError, load, save
from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.batch import Batch
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig, StreamingEvaluator
from rnnt_qat.experiment.artefact_engine import frontend_of
from rnnt_qat.export.freeze import laid_out
from rnnt_qat.export.thaw import thaw
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.infra.config import from_json
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.input_pipeline.eval_batches import EvalBatches
from rnnt_qat.input_pipeline.mixture import SpeechSource
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.policies import build_policy, policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.policy_spec import PolicySpec
from rnnt_qat.typing import PyTree


@dataclasses.dataclass(frozen=True)
class FrozenRecognizer:
    """An artefact and its serving program.

    Attributes:
      artefact: integers, labels and settings.
      policy: the policy that they were frozen under.
      transducer: the serving program in JAX.
      frontend: computes features.
      tokenizer: its labels.
    """

    artefact: Artefact
    policy: PrecisionPolicy
    transducer: BoundTransducer
    frontend: Frontend
    tokenizer: CharacterTokenizer

    @classmethod
    def of(cls, artefact: Artefact) -> "FrozenRecognizer":
        """Returns the recognizer of an artefact.

        Raises:
          ArtefactError: its labels are not single characters, or its settings are invalid.
          ThawError: its layers are no plain LSTMs.
        """
        pieces = artefact.pieces[1:]
        if any(len(piece) != 1 for piece in pieces):
            raise ArtefactError(
                "its labels are units of several characters, and an artefact does not hold the "
                "model that divides transcripts into them: only recognizers of characters are "
                "adapted"
            )
        policy = policy_of(artefact)
        transducer, frontend = thaw(artefact.model, policy), frontend_of(artefact)
        return cls(artefact, policy, transducer, frontend, CharacterTokenizer("".join(pieces)))

    @classmethod
    def load(cls, folder: pathlib.Path) -> "FrozenRecognizer":
        """Reads the folder of an artefact; raises as ``artefact.load`` and ``of``."""
        return cls.of(load(folder))

    def with_integers(self, integers: RnntIntegers) -> "FrozenRecognizer":
        """Returns the recognizer with other integers of the same layout."""
        artefact = dataclasses.replace(self.artefact, model=integers)
        transducer = thaw(integers, self.policy)
        return dataclasses.replace(self, artefact=artefact, transducer=transducer)

    def with_variables(self, variables: PyTree, origin: dict[str, Any]) -> "FrozenRecognizer":
        """Returns the recognizer with other frozen variables.

        Args:
          variables: variables of the serving program.
          origin: added to the record of provenance.

        Raises:
          ValueError: some input would overflow a word of the runtimes; names the layer.
        """
        model = RNNT(self.transducer.model.config, self.policy)
        artefact = dataclasses.replace(
            self.artefact,
            model=laid_out(model, variables),
            origin=self.artefact.origin | origin,
        )
        transducer = dataclasses.replace(self.transducer, variables=variables)
        return dataclasses.replace(self, artefact=artefact, transducer=transducer)

    def save(self, folder: pathlib.Path) -> pathlib.Path:
        """Writes the artefact; raises FileExistsError if the folder exists."""
        return save(self.artefact, folder)

    def batches(self, source: SpeechSource, buckets: int = 2) -> list[Batch]:
        """Returns the features and labels of utterances, padded to a few shapes.

        Args:
          source: the utterances.
          buckets: number of shapes at most.
        """
        found = EvalBatches(source, self.tokenizer, self.frontend.config, self._pipeline(buckets))
        return [self.frontend.batch(batch) for batch in found]

    def evaluate(
        self, source: SpeechSource, name: str, variables: Sequence[PyTree] = ()
    ) -> list[EvaluationResult]:
        """Decodes utterances by greedy search with variables that share one program.

        Args:
          source: the utterances.
          name: name of the test set.
          variables: variables of the serving program; those of the recognizer if there are none.
        """
        search = GreedyConfig(max_symbols_per_frame=self.artefact.max_symbols_per_frame)
        evaluator = StreamingEvaluator(
            EvaluationConfig(search, chunk_ms=(0.0,)),
            lambda found: dataclasses.replace(self.transducer, variables=found),
            self.frontend,
            self.tokenizer,
            EvalBatches(source, self.tokenizer, self.frontend.config, self._pipeline(2)),
            references=source,
            name=name,
        )
        chosen = variables or (self.transducer.variables,)
        return [evaluator.evaluate(each)[0] for each in chosen]

    def _pipeline(self, buckets: int) -> PipelineConfig:
        frames = self.transducer.time_reduction
        return PipelineConfig(num_buckets=buckets, batch_seconds=60.0, frame_multiple=frames)


def policy_of(artefact: Artefact) -> PrecisionPolicy:
    """Returns the policy that an artefact records, or its chip's if it records none."""
    rules = artefact.origin.get("policy_rules")
    if rules is None:
        return policy_by_name(artefact.model.chip)
    return build_policy(from_json(PolicySpec, rules))
