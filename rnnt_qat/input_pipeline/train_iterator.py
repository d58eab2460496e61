"""Infinite, deterministic, resumable iterator of training batches."""

import concurrent.futures
import functools
import hashlib
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import logging

from rnnt_qat.batch import AudioBatch, Batch, to_float
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.infra.errors import UserError
from rnnt_qat.input_pipeline.assemble import assemble
from rnnt_qat.input_pipeline.augmentation import samples_at_speed
from rnnt_qat.input_pipeline.buckets import Bucket, choose_buckets
from rnnt_qat.input_pipeline.cache import Cache
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.input_pipeline.examples import Examples, feasible_examples
from rnnt_qat.input_pipeline.mixture import SpeechSource
from rnnt_qat.input_pipeline.plan import PADDING
from rnnt_qat.input_pipeline.schedule import EpochSchedule
from rnnt_qat.input_pipeline.tokenizer import Tokenizer
from rnnt_qat.typing import Float, Int, PyTree


class InputPositionError(UserError, ValueError):
    """A checkpoint's position in the training data that is not one of this run's data."""


class TrainIterator(Iterator[AudioBatch | Batch]):
    """An infinite iterator of batches; the batch of step ``n`` depends only on ``n`` and its size.

    Each epoch contains every feasible utterance exactly once (times the repeats of its mixture)
    over all processes. Batches hold NumPy arrays with the rows of this process.

    Attributes:
      batch_seconds: maximum seconds of audio in a batch over all processes, including padding.
      buckets: static shapes, over all processes.
      skipped: report of the utterances excluded.
      num_examples: number of examples of an epoch.
      step: number of batches returned so far.
    """

    def __init__(
        self,
        source: SpeechSource,
        tokenizer: Tokenizer,
        frontend: Frontend,
        config: PipelineConfig,
        *,
        seed: int,
        row_multiple: int = 1,
        process_index: int = 0,
        process_count: int = 1,
        cache: Cache | None = None,
    ):
        """Chooses the buckets and reports what is skipped.

        Args:
          source: a corpus split or a mixture.
          tokenizer: converts transcripts to labels.
          frontend: defines the frame length; computes the features if ``config.features_on_host``.
          config: options of the pipeline.
          seed: seed of shuffling and augmentation.
          row_multiple: divisor of every batch size over all processes: devices times accumulation
            steps.
          process_index: number of this process.
          process_count: number of processes that share each batch.
          cache: decoded audio that another iterator over the same source has kept; by default an
            empty one of ``config.cache_bytes``.

        Raises:
          ValueError: there is no feasible utterance, or ``row_multiple`` is incompatible
            with the budget of a batch or the number of processes.
        """
        if row_multiple % process_count or not 0 <= process_index < process_count:
            raise ValueError(
                f"{row_multiple} rows cannot be shared by {process_count} processes, "
                f"of which this is number {process_index}"
            )
        rate = frontend.config.log_mel.sample_rate_hz
        examples, self.skipped = feasible_examples(
            source,
            tokenizer,
            max_samples=int(config.max_seconds * rate),
            max_labels_per_sample=config.max_labels_per_second / rate,
        )
        level = logging.WARNING if self.skipped.counts else logging.INFO
        logging.log(level, "Training data: %s", self.skipped)
        speeds = config.augmentation.speeds
        self._choose_buckets = functools.partial(
            choose_buckets,
            np.concatenate(
                [samples_at_speed(examples.num_samples, np.full(len(examples), s)) for s in speeds]
            ),
            np.tile(examples.num_labels, len(speeds)),
            num_buckets=config.num_buckets,
            quantum=frontend.config.samples_per_frame * config.frame_multiple,
            row_multiple=row_multiple,
        )
        self.num_examples = len(examples)
        self._source, self._examples, self._frontend = source, examples, frontend
        self._config, self._seed, self._rate = config, seed, rate
        self._process, self._row_multiple = (process_index, process_count), row_multiple
        self._cache = Cache(config.cache_bytes) if cache is None else cache
        self.step = 0
        self.resize(config.batch_seconds)

    def __next__(self) -> AudioBatch | Batch:
        batch = next(self._iterator)
        self.step += 1
        return batch

    def batches_in_epoch(self, epoch: int) -> int:
        """Batches of an epoch: a change of speed may move utterances between buckets."""
        return self._epochs.batches_in(epoch)

    def load(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Decodes all utterances into the cache, as far as it holds them, before the first batch.

        Args:
          progress: called with the numbers of decoded and of all utterances.
        """
        utterances = np.unique(self._loader.utterances)
        with concurrent.futures.ThreadPoolExecutor(self._config.read_threads) as pool:
            for done, _ in enumerate(pool.map(self._loader.samples, utterances.tolist()), 1):
                progress(done, len(utterances))

    @property
    def size_limits(self) -> tuple[float, float]:
        """Smallest and largest useful ``batch_seconds``: the longest rows, and a whole epoch."""
        longest = self.buckets[-1].num_samples * self._row_multiple / self._rate
        # A tenth more than fits exactly, so that no rounding of the product makes it too small.
        return math.floor(10 * longest + 1) / 10, float(
            self._examples.num_samples.sum()
        ) / self._rate

    def batch_shapes(self, batch_seconds: float) -> tuple[PyTree, ...]:
        """Returns the shapes of a batch over all processes, for each bucket.

        Args:
          batch_seconds: maximum seconds of audio in a batch; may differ from the current one.
        """
        return tuple(
            jax.tree.map(
                lambda leaf, rows=bucket.batch_size: jax.ShapeDtypeStruct(
                    (rows, *leaf.shape[1:]), leaf.dtype
                ),
                self._loader.padding_row(bucket),
            )
            for bucket in self._buckets(batch_seconds)
        )

    def resize(self, batch_seconds: float) -> None:
        """Changes the size of the batches that follow; the position stays.

        Args:
          batch_seconds: maximum seconds of audio in a batch.

        Raises:
          ConfigError: if that is too little for the longest utterance.
        """
        config = self._config
        self.batch_seconds, self.buckets = batch_seconds, self._buckets(batch_seconds)
        lengths = self._examples.num_samples
        self._epochs = EpochSchedule(lengths, self.buckets, config.augmentation, self._seed)
        self._fingerprint = _fingerprint(
            self._source, self._examples, self.buckets, config, self._seed
        )
        import grain  # slow import, needed once there is something to read

        self._loader = _Loader(
            self._source,
            self._examples,
            self._epochs,
            self._frontend,
            config,
            self._process,
            self._cache,
        )
        self._dataset = (
            grain.MapDataset.source(_Steps())
            .map(self._loader)
            .to_iter_dataset(
                grain.ReadOptions(
                    num_threads=config.read_threads,
                    prefetch_buffer_size=max(config.prefetch_batches, config.read_threads),
                )
            )
        )
        self._go_to(self.step)

    def _buckets(self, batch_seconds: float) -> tuple[Bucket, ...]:
        return self._choose_buckets(batch_samples=int(batch_seconds * self._rate))

    def _go_to(self, step: int) -> None:
        self.step = step
        self._iterator = iter(self._dataset)
        if step:
            self._iterator.set_state({"next_index": step})

    def state(self) -> dict[str, Any]:
        """Returns the position as JSON-serializable data, for a checkpoint."""
        resized = self.batch_seconds != self._config.batch_seconds
        size = {"batch_seconds": self.batch_seconds} if resized else {}
        return {"step": self.step, "data": self._fingerprint, **size}

    def restore(self, state: dict[str, Any]) -> None:
        """Restores position and size of ``state``: the next batch is the one that followed it.

        Raises:
          InputPositionError: the state belongs to other data, seed or pipeline settings.
        """
        batch_seconds = state.get("batch_seconds", self._config.batch_seconds)
        if batch_seconds != self.batch_seconds:
            self.resize(batch_seconds)
        if state["data"] != self._fingerprint:
            raise InputPositionError(
                f"the checkpoint's input position (step {state['step']}) belongs to other "
                "training data, tokenizer, seed, batch sizes or augmentation than this run's: "
                "restore those, or start in a new --workdir. If only the devices differ: every "
                "batch now divides by them: restore their number (--cpu_devices), or begin with "
                "--config.pipeline.row_multiple set to a multiple of both numbers, which has the "
                "same batches on either"
            )
        self._go_to(int(state["step"]))


class _Steps:
    """A data source of the step numbers from 0."""

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, step: int) -> int:
        return step


class _Loader:
    """A callable that loads the batch of a step."""

    def __init__(
        self,
        source: SpeechSource,
        examples: Examples,
        epochs: EpochSchedule,
        frontend: Frontend,
        config: PipelineConfig,
        process: tuple[int, int],
        cache: Cache,
    ):
        self._process = process
        self._source, self._examples = source, examples
        self._cache = cache
        self._epochs = epochs
        self._augmentation = config.augmentation
        self._features = None
        if config.features_on_host:
            self._cpu = jax.local_devices(backend="cpu")[0]
            self._features = jax.jit(frontend.batch)
        # Without augmentation an utterance has the same features in every epoch: cache the rows.
        self._keeps_rows = config.features_on_host and self._augmentation.changes_nothing

    def __call__(self, step: int) -> AudioBatch | Batch:
        epoch, position = self._epochs.locate(step)
        batches, speeds = self._epochs.plan(epoch)
        planned = batches[position]
        rows = [
            self._row(planned.bucket, epoch, int(example), float(speeds[example]))
            for example in planned.rows_of_process(*self._process)
        ]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *rows)

    @property
    def utterances(self) -> Int[np.ndarray, "E"]:
        """Utterance of each example."""
        return self._examples.utterance

    def samples(self, utterance: int) -> Int[np.ndarray, "N"]:
        """Returns the samples of an utterance, from the cache if it holds them."""
        return self._cache.get(utterance, lambda: self._source[utterance].audio)

    def padding_row(self, bucket: Bucket) -> AudioBatch | Batch:
        """Returns a batch of one row without an utterance."""
        return self._finish(assemble([None], bucket))

    def _row(self, bucket: Bucket, epoch: int, example: int, speed: float) -> AudioBatch | Batch:
        """Loads a batch of one row: computing features row by row stays in the CPU cache."""
        if example == PADDING:
            return self.padding_row(bucket)
        utterance = int(self._examples.utterance[example])

        def row(audio: Float[np.ndarray, "N"]) -> AudioBatch | Batch:
            labels = self._examples.labels[example]
            return self._finish(assemble([(utterance, audio, labels)], bucket))

        if self._keeps_rows:
            shape = bucket.num_samples, bucket.num_labels
            return self._cache.get(
                (utterance, *shape), lambda: row(to_float(self._source[utterance].audio))
            )
        audio = to_float(self.samples(utterance))
        rng = self._epochs.waveform_rng(epoch, example)
        return row(self._augmentation.apply(audio, speed, rng))

    def _finish(self, batch: AudioBatch) -> AudioBatch | Batch:
        if self._features is None:
            return batch
        with jax.default_device(self._cpu):
            return jax.tree.map(np.asarray, self._features(batch))


def _fingerprint(
    source: SpeechSource,
    examples: Examples,
    buckets: tuple[Bucket, ...],
    config: PipelineConfig,
    seed: int,
) -> str:
    """Hashes all inputs that determine the order and the augmentation of the examples."""
    # Unused, the bandwidth is left out, so that runs that began before it existed go on.
    augmentation = repr(config.augmentation).replace(", half_band_probability=0.0", "")
    digest = hashlib.sha256(f"({seed!r}, {buckets!r}, {augmentation})".encode())
    for example in (examples.utterance, examples.num_samples, examples.num_labels):
        digest.update(np.asarray(example, np.int64).tobytes())
    digest.update(np.fromiter(itertools.chain(*examples.labels), np.int32).tobytes())
    digest.update("\n".join(source.ids).encode())
    return digest.hexdigest()[:16]
