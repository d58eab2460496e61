"""Assembly and execution of an experiment from its config."""

import contextlib
import copy
import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Sequence

import jax

from rnnt_qat.evaluation.streaming_evaluator import StreamingEvaluator
from rnnt_qat.experiment.alphabet import check_alphabet
from rnnt_qat.experiment.config import ExperimentConfig, Split
from rnnt_qat.experiment.diagnoser import Diagnoser, utterances
from rnnt_qat.experiment.initial_recognizer import load_initial_recognizer
from rnnt_qat.experiment.recognizer import Recognizer, make_evaluator
from rnnt_qat.experiment.remote_paths import readable_folder
from rnnt_qat.experiment.run_files import MAY_DIFFER, RunFiles
from rnnt_qat.experiment.task import Measurement, RecognizerTask
from rnnt_qat.experiment.teacher import load_teacher
from rnnt_qat.experiment.training_corpora import TrainingCorpora
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.infra.config import ConfigError, to_json, upgraded
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.mesh import make_mesh, to_host
from rnnt_qat.infra.progress import Progress
from rnnt_qat.infra.workdir_lock import locked
from rnnt_qat.input_pipeline.cache import Cache
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.input_pipeline.mixture import Mixture
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer, Tokenizer
from rnnt_qat.input_pipeline.train_iterator import TrainIterator
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.training import hooks
from rnnt_qat.training.batch_sizing import BatchSizing
from rnnt_qat.training.best_state import BestState
from rnnt_qat.training.loop import Trainer
from rnnt_qat.training.plan import Part, bind_parts, parts
from rnnt_qat.training.rehearsal import Rehearsal, rehearse
from rnnt_qat.training.stages import Stage, TrainingStage
from rnnt_qat.training.state import TrainState, parameter_count
from rnnt_qat.training.tracker import require_tracker


class Experiment:
    """An experiment, whose components are created lazily from its config.

    Args:
      config: the experiment's config.
      data_dir: folder of the prepared corpora.
      workdir: folder for everything that the run writes.
      console: output of progress lines.
      diagnose: whether to record quantization diagnostics at each evaluation of a
        quantized stage. Not part of the config, because it changes no parameter.
      validate: whether to evaluate the validation sets; if not, each stage's best state is its
        last one.
      trackers: names of the services that receive the run's records too (``training.tracker``).
      cache: decoded audio that an experiment on the same ``data`` has kept; empty by default.
      workdir_name: how messages call the working directory; None for its path.
      saved: called after each checkpoint is handed to the writer; what it raises ends the run.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        data_dir: pathlib.Path,
        workdir: pathlib.Path,
        console: Console | None = None,
        diagnose: bool = False,
        validate: bool = True,
        trackers: Sequence[str] = (),
        cache: Cache | None = None,
        workdir_name: str | None = None,
        saved: Callable[[], None] = lambda: None,
    ):
        self.config = config
        self.cache = Cache(config.pipeline.cache_bytes) if cache is None else cache
        self.data_dir, self.workdir = data_dir, workdir
        self._workdir_name, self._saved = workdir_name or str(workdir), saved
        self._diagnose, self._validate = diagnose, validate
        self._trackers = tuple(map(require_tracker, trackers))
        self.mesh = make_mesh()
        self.console = console or Console(
            period_seconds=config.loop.console_seconds, enabled=jax.process_index() == 0
        )
        self._corpora = TrainingCorpora(config, data_dir, self.console)
        self._files = RunFiles(workdir)

    @property
    def training_data(self) -> Mixture:
        """Mixture of the training corpora."""
        return self._corpora.mixture

    @functools.cached_property
    def initial_recognizer(self) -> Recognizer | None:
        """Recognizer to start from; None if the config names none.

        Raises:
          ConfigMismatchError: if its parameter shapes or features differ from the config's.
        """
        return load_initial_recognizer(self.config, self.console.say)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of characters, or of units trained on the training transcripts."""
        given = self.initial_recognizer
        tokenizer = given.tokenizer if given else self._corpora.new_tokenizer()
        if isinstance(tokenizer, CharacterTokenizer):
            check_alphabet(tokenizer, self.data_dir, self.config.data.train)
        if tokenizer.vocab_size != self.config.model.vocabulary:
            raise ConfigError(
                f"model.vocabulary={self.config.model.vocabulary}, but the tokenizer has "
                f"{tokenizer.vocab_size} labels with the blank: set model.vocabulary to that"
            )
        return tokenizer

    @functools.cached_property
    def frontend(self) -> Frontend:
        """Frontend with feature statistics of the training data, computed once per run."""
        if self.initial_recognizer:
            return self.initial_recognizer.frontend
        saved = self._files.frontend(self.config.frontend)
        if saved is not None:
            return saved
        return Frontend(self.config.frontend, self._corpora.measure_stats())

    def evaluators(
        self, splits: Sequence[Split], model: RNNTConfig, policy: PrecisionPolicy
    ) -> tuple[StreamingEvaluator, ...]:
        """Returns one streaming evaluator per test set.

        Args:
          splits: the test sets.
          model: architecture of the evaluated model.
          policy: precision policy of the evaluated model.
        """
        return tuple(
            make_evaluator(
                dataclasses.replace(self.config, model=model),
                self.config.evaluation,
                policy,
                self.frontend,
                self.tokenizer,
                [split],
                self.data_dir,
                self.mesh,
            )
            for split in splits
        )

    @functools.cached_property
    def task(self) -> RecognizerTask:
        """Training task of the recognizer."""
        config = self.config
        return RecognizerTask(
            config.model,
            config.policy,
            self.frontend,
            config.spec_augment,
            config.objectives,
            Measurement(
                self._validators if self._validate else None,
                self._diagnoser if self._diagnose else None,
            ),
            lambda name: load_teacher(readable_folder(name), self.frontend),
        )

    def _validators(
        self, model: RNNTConfig, policy: PrecisionPolicy
    ) -> tuple[StreamingEvaluator, ...]:
        return self.evaluators(self.config.data.validation, model, policy)

    def _diagnoser(self, model: RNNTConfig, policy: PrecisionPolicy) -> Diagnoser:
        split = self.config.data.validation[0]
        batches = utterances(self.config, self.tokenizer, split, self.data_dir, num_batches=1)
        return Diagnoser(model, policy, self.frontend, batches)

    def initial_state(self) -> TrainState:
        """Returns the state before the first step."""
        if self.initial_recognizer:
            params = self.initial_recognizer.variables["params"]
        else:
            params = self.task.initial_params(jax.random.key(self.config.seed))
        return TrainState.create(params, {}, self.config.seed)

    def iterator(self) -> TrainIterator:
        """Returns the iterator over training batches, at its first batch."""
        microbatches = math.lcm(
            *(s.optimizer.accumulation for s in self.config.stages if isinstance(s, TrainingStage))
        )
        return TrainIterator(
            self.training_data,
            self.tokenizer,
            self.frontend,
            self.config.pipeline,
            seed=self.config.seed,
            row_multiple=math.lcm(
                self.mesh.devices.size * microbatches, self.config.pipeline.row_multiple
            ),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            cache=self.cache,
        )

    def _plan(self) -> list[Part[RecognizerTask]]:
        """Returns the stages that run, each with its task.

        Raises:
          ConfigError: if a hook has nothing to act on in the network of its stage, which would
            otherwise end a run after the stages before.
        """
        plan = parts(self.config.stages, self.task)
        for part in plan:
            if isinstance(part.stage, TrainingStage) and part.stage.hooks:
                params = jax.eval_shape(part.task.initial_params, jax.random.key(0))
                try:
                    jax.eval_shape(functools.partial(hooks.begin, part.stage.hooks), params)
                except ValueError as error:
                    raise ConfigError(f"stages.{part.stage.name}: {error}") from error
        return plan

    def planned(self, stages: tuple[Stage, ...]) -> "Experiment":
        """Returns this experiment with another plan; shares what is loaded."""
        other = copy.copy(self)
        other.config = dataclasses.replace(self.config, stages=stages)
        return other

    def rehearse(self, seconds: float) -> Rehearsal:
        """Times the steps of the first stage (``training.rehearsal``); writes nothing.

        Args:
          seconds: time to measure for, in seconds, without loading and compiling.

        Raises:
          ConfigError: if the size of batches is to be measured too.
        """
        if self.config.pipeline.memory_bytes:
            raise ConfigError(
                f"pipeline.memory_bytes={self.config.pipeline.memory_bytes}: time is measured for "
                "batches of a known size; set it to 0, and pipeline.batch_seconds to what "
                "experiments.train has chosen"
            )
        iterator = self.iterator()
        with Progress("decoding the training speech", self.console, "utterances") as progress:
            iterator.load(progress.at)
        return rehearse(
            bind_parts(self._plan())[0],
            self.initial_state(),
            iterator,
            self.mesh,
            self.config.loop,
            shapes=len(iterator.buckets),
            batches_in_epoch=iterator.batches_in_epoch(0),
            ahead=self.config.pipeline.prefetch_batches,
            seconds=seconds,
        )

    def train(
        self, last_stage: str | None = None, stage_seconds: float = math.inf
    ) -> dict[str, Recognizer]:
        """Runs or resumes the stages and writes a model directory for each.

        Args:
          last_stage: name of the last stage to run; None runs all stages.
          stage_seconds: time in seconds after which a stage ends (``Trainer``).

        Returns:
          The recognizer of lowest validation WER of each stage, by stage name.

        Raises:
          StoppedBySignal, ConfigMismatchError, SkippedBatchesError: see ``Trainer.run``.
          ConfigError: if the experiment cannot be trained; the message names the fields.
          WorkdirInUseError: if another process trains in the working directory.
        """
        self.config.check_trainable()
        first = jax.process_index() == 0
        with locked(self.workdir) if first else contextlib.nullcontext():
            self._require_same_run()
            iterator = self.iterator()
            plan = self._plan()
            stages, tasks = bind_parts(plan), {part.stage.name: part.task for part in plan}
            if last_stage is not None:
                stages = stages[: 1 + [s.name for s in stages].index(last_stage)]
            for split in self.config.data.test:
                open_corpus(self.data_dir, split.corpus, split.split)
            # All components could be created, so the run may now write to the working directory.
            if first:
                self._files.claim(
                    self.config, None if self.initial_recognizer else self.frontend.stats
                )
            self.console.say(
                f"training examples an epoch: {iterator.num_examples:,}, batch shapes: "
                f"{len(iterator.buckets)}"
            )
            trainer = Trainer(
                stages,
                self.initial_state,
                iterator,
                self.workdir,
                to_json(self.config),
                self.config.loop,
                self.mesh,
                self.console,
                MAY_DIFFER,
                functools.partial(upgraded, ExperimentConfig),
                self._trackers,
                self._saved,
                stage_seconds,
                self._sizing(iterator),
            )
            state = trainer.run()
            kept = {b.stage: self._keep(b, tasks[b.stage]) for b in trainer.best_states()}
            self._say_outcome(kept, parameter_count(state.params))
            return kept

    def _sizing(self, iterator: TrainIterator) -> BatchSizing | None:
        pipeline = self.config.pipeline
        if not pipeline.memory_bytes:
            return None
        return BatchSizing(iterator, pipeline.memory_bytes, pipeline.batch_seconds)

    def _say_outcome(self, kept: dict[str, Recognizer], parameters: int) -> None:
        """Prints the results and their locations."""
        self.console.say(f"{parameters / 1e6:.2f} M parameters trained; the best of each stage:")
        for stage, recognizer in kept.items():
            wer = recognizer.origin["wer"]
            measured = "not measured" if wer is None else f"{100 * wer:.1f} %"
            self.console.say(
                f"  {stage:<12} step {recognizer.origin['step']:<6} validation WER {measured:<12} "
                f"{self._workdir_name}/models/{stage}"
            )

    def _require_same_run(self) -> None:
        """Checks that what is in the working directory is of this run; says what has changed."""
        for line in self._files.require_same_run(self.config):
            self.console.say(
                f"goes on with {line}. No parameter depends on it directly, but which states are "
                "measured and kept as the best may"
            )

    def _keep(self, best: BestState, task: RecognizerTask) -> Recognizer:
        """Saves a stage's best state as a recognizer in its model directory."""
        state, model = to_host(best.state), task.under(best.precision)
        recognizer = Recognizer(
            config=dataclasses.replace(self.config, model=task.model),
            policy=model.policy,
            variables=to_host(model.variables(state.ema_params, state.quant_stats)),
            frontend=self.frontend,
            tokenizer=self.tokenizer,
            origin={
                "stage": best.stage,
                "step": best.step,
                "wer": best.wer,
                "trained": best.trained,
            },
        )
        if jax.process_index() == 0:
            recognizer.save(self._files.model_directory(best.stage))
        return recognizer
