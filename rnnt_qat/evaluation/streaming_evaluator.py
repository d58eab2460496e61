"""Streaming evaluation of a test set, with one compiled program per bucket shape.

Parameters are arguments of the program, so all checkpoints share it. Rows are sharded over the
mesh, and each device decodes its rows without synchronizing with the others.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from rnnt_qat.batch import AudioBatch
from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.decoding.hypothesis import Hypothesis
from rnnt_qat.decoding.search import SearchConfig
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.infra.mesh import DATA_AXIS, global_batch, make_mesh, replicated, to_host
from rnnt_qat.metrics.bootstrap import BootstrapConfig
from rnnt_qat.metrics.latency import measure_real_time_factor
from rnnt_qat.metrics.wer import character_errors, word_errors
from rnnt_qat.typing import PyTree

_WARM_UPS = 1
"""Decodes before those that are timed."""


class Tokenizer(Protocol):
    """The part of a tokenizer that the evaluator uses."""

    def decode(self, labels: Iterable[int]) -> str:
        """Returns the text of a sequence of tokens."""

    def piece(self, label: int) -> str:
        """Returns the text of one token, with a space where a word starts."""


@runtime_checkable
class PlannedBatches(Protocol):
    """Batches that are known before they are read, e.g. ``EvalBatches``."""

    @property
    def num_shapes(self) -> int:
        """Number of different shapes."""

    def __len__(self) -> int:
        """Number of batches."""


class References(Protocol):
    """Names and transcripts of a split, e.g. a ``Corpus``, indexed by ``utterance_index``."""

    @property
    def ids(self) -> Sequence[str]:
        """Names of the utterances, in the split's order."""

    @property
    def texts(self) -> Sequence[str]:
        """Transcripts of the utterances, in the split's order."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Config of streaming decoding.

    Attributes:
      search: options of the search; their type selects the search.
      chunk_ms: chunk sizes in milliseconds, multiples of the encoder frame, with one result each;
        0 decodes whole utterances. The tokens of greedy search do not depend on the chunk size.
      bootstrap: config of the confidence intervals.
      timed_repeats: number of additional decodes of one batch per bucket, to measure the real-time
        factor; 0 disables the measurement.
    """

    search: SearchConfig = dataclasses.field(default_factory=GreedyConfig)
    chunk_ms: tuple[float, ...] = (240.0,)
    bootstrap: BootstrapConfig = dataclasses.field(default_factory=BootstrapConfig)
    timed_repeats: int = 0

    def __post_init__(self):
        if not self.chunk_ms or min(self.chunk_ms) < 0:
            raise ValueError(
                f"evaluation.chunk_ms={self.chunk_ms} must name at least one chunk size in ms, "
                "0 for whole utterances"
            )

    def require_whole_frames(self, frame_ms: float) -> None:
        """Checks that chunks are multiples of the encoder frame, before training or decoding.

        Args:
          frame_ms: frame shift of the encoder in milliseconds.

        Raises:
          ConfigError: if one is not; the message names it and the nearest valid size.
        """
        for chunk_ms in self.chunk_ms:
            frames = round(chunk_ms / frame_ms)
            if abs(frames * frame_ms - chunk_ms) > 1e-6 * frame_ms or (chunk_ms and not frames):
                raise ConfigError(
                    f"chunk_ms={chunk_ms:g} (evaluation.chunk_ms, --chunk_ms) is no multiple of "
                    f"the encoder's frame of {frame_ms:g} ms; the nearest is "
                    f"{max(frames, 1) * frame_ms:g}"
                )


class StreamingEvaluator:
    """An evaluator of a test set for any parameters of one model.

    Attributes:
      name: name of the test set, which prefixes its metrics.
      compilations: number of compiled programs, at most one per chunk size and bucket shape.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        make_transducer: Callable[[PyTree], Transducer],
        frontend: Frontend,
        tokenizer: Tokenizer,
        batches: Iterable[AudioBatch],
        *,
        references: References | None = None,
        mesh: Mesh | None = None,
        name: str = "test",
    ):
        """Prepares the programs without compiling them.

        Args:
          config: config of decoding.
          make_transducer: maps parameters (any pytree) to a recognizer; called while tracing.
          frontend: computes features from audio.
          tokenizer: maps tokens to text.
          batches: the test set, iterated by every evaluation. Rows of ``utterance_index`` -1 are
            padding. Each of several processes provides its own rows, with the same number of
            batches and the same shapes.
          references: ids and transcripts. If None, the id is the utterance's index and the
            reference is decoded from its labels.
          mesh: devices to decode on; None for all devices.
          name: name of the test set.
        """
        self.config = config
        self.name = name
        self.compilations = 0
        self._encoder_frame_ms = float("nan")
        self._make_transducer = make_transducer
        self._driver = ChunkDriver(frontend, config.search.build())
        self._tokenizer = tokenizer
        self._batches = batches
        self._references = references
        self._mesh = make_mesh() if mesh is None else mesh
        self._programs = {ms: self._program(ms or None) for ms in config.chunk_ms}
        self._ready: set[tuple[float, tuple[int, ...]]] = set()  # compiled: chunk size and shape
        self._timed_passes = config.timed_repeats + _WARM_UPS if config.timed_repeats else 0

    @property
    def num_batches(self) -> int:
        """Batches of an evaluation, those of the timed repeats included; 0 if none are planned."""
        return len(self.config.chunk_ms) * self._batches_of_a_size

    @property
    def programs_left(self) -> int:
        """Number of programs that an evaluation has to compile first; 0 if none are planned."""
        if not isinstance(self._batches, PlannedBatches):
            return 0
        return max(0, len(self.config.chunk_ms) * self._batches.num_shapes - len(self._ready))

    @property
    def _batches_of_a_size(self) -> int:
        if not isinstance(self._batches, PlannedBatches):
            return 0
        return len(self._batches) + self._batches.num_shapes * self._timed_passes

    def run(
        self,
        params: PyTree,
        progress: Callable[[int, int, int], None] = lambda done, total, programs_left: None,
    ) -> Iterator[tuple[str, float]]:
        """Yields the metrics of the test set as ``(name/metric, value)``, for training records.

        Names of metrics at chunk sizes other than the first end in ``@<chunk_ms>ms``.

        Args:
          params: parameters for ``make_transducer``, on the host or on any devices.
          progress: see ``evaluate``.
        """
        for i, result in enumerate(self.evaluate(params, progress=progress)):
            suffix = f"@{result.chunk_ms or 0:g}ms" if i else ""
            for metric, value in result.metrics():
                yield f"{self.name}/{metric}{suffix}", value

    def evaluate(
        self,
        params: PyTree,
        system: str = "model",
        progress: Callable[[int, int, int], None] = lambda done, total, programs_left: None,
    ) -> list[EvaluationResult]:
        """Decodes the test set and returns one result per chunk size.

        Args:
          params: parameters for ``make_transducer``, on the host or on any devices.
          system: name of the system, for comparisons.
          progress: called with the numbers of decoded and of all batches, those of the timed
            repeats included, and of programs still to be compiled, if the batches are planned.
        """
        params, sizes = self._place(params), self.config.chunk_ms
        batches = self._batches_of_a_size

        def report(number: int, done: int) -> None:
            if batches:
                progress(number * batches + done, self.num_batches, self.programs_left)

        if batches:
            progress(0, self.num_batches, self.programs_left)
        return [
            self._evaluate(params, system, ms, functools.partial(report, number))
            for number, ms in enumerate(sizes)
        ]

    def _program(self, chunk_ms: float | None):
        def decode(params, audio, audio_lengths):
            # This Python code runs only while tracing, so both fields are set once per compilation.
            transducer = self._make_transducer(params)
            self.compilations += 1
            self._encoder_frame_ms = self._driver.encoder_frame_ms(transducer)
            return self._driver.decode(transducer, audio, audio_lengths, chunk_ms)

        rows = PartitionSpec(DATA_AXIS)
        return jax.jit(
            jax.shard_map(
                decode,
                mesh=self._mesh,
                in_specs=(PartitionSpec(), rows, rows),
                out_specs=rows,
                check_vma=False,  # while loops run different numbers of iterations on each device
            )
        )

    def _place(self, params: PyTree) -> PyTree:
        """Replicates parameters over the mesh; those already on it keep their sharding."""
        devices = set(self._mesh.devices.flat)

        def place(leaf):
            if isinstance(leaf, jax.Array) and leaf.sharding.device_set == devices:
                return leaf
            return jax.device_put(leaf, replicated(self._mesh))

        return jax.tree.map(place, params)

    def _evaluate(
        self, params: PyTree, system: str, ms: float, report: Callable[[int], None]
    ) -> EvaluationResult:
        program = self._programs[ms]
        rows: dict[int, _Row] = {}
        timed: dict[tuple[int, ...], AudioBatch] = {}
        in_flight = None
        for number, batch in enumerate(self._batches):
            batch = global_batch(_pad_rows(batch, len(self._mesh.local_devices)), self._mesh)
            hypothesis = program(params, batch.audio, batch.audio_lengths)
            self._ready.add((ms, batch.audio.shape))
            if self.config.timed_repeats:
                timed.setdefault(batch.audio.shape, batch)
            # The host prepares the next batch while the devices decode this one.
            self._collect(in_flight, rows)
            report(number)  # the batch before this one is done
            in_flight = (batch.replace(audio=None), hypothesis)
        self._collect(in_flight, rows)
        if not rows:
            raise ValueError(
                f"test set {self.name!r} gave no utterance: `batches` must be an iterable that can "
                "be iterated again for every evaluation, not a spent iterator"
            )
        result = EvaluationResult(
            test_set=self.name,
            system=system,
            search=str(self.config.search),
            chunk_ms=ms or None,
            encoder_frame_ms=self._encoder_frame_ms,
            utterances=self._utterances(rows),
            missing=0 if self._references is None else len(self._references.ids) - len(rows),
            bootstrap=self.config.bootstrap,
        )
        if not timed:
            return result
        rate = self._driver.frontend.config.log_mel.sample_rate_hz
        audio_s = sum(int(to_host(b.audio_lengths).sum()) for b in timed.values()) / rate
        passes = itertools.count()

        def decode_again() -> list[Hypothesis]:
            report(number + 1 + next(passes) * len(timed))
            return [program(params, b.audio, b.audio_lengths) for b in timed.values()]

        factor = measure_real_time_factor(
            decode_again, audio_s, self.config.timed_repeats, warmup=_WARM_UPS
        )
        return dataclasses.replace(result, real_time_factor=factor)

    def _collect(self, decoded: tuple[AudioBatch, Hypothesis] | None, rows: dict) -> None:
        """Fetches the hypotheses of one batch to the host, which waits for the devices."""
        if decoded is None:
            return
        batch, hypothesis = to_host(decoded)
        for b, index in enumerate(batch.utterance_index.tolist()):
            if index < 0:
                continue
            if index in rows:
                raise ValueError(f"test set {self.name!r} gave utterance {index} twice")
            n = int(hypothesis.length[b])
            rows[index] = _Row(
                audio_length=int(batch.audio_lengths[b]),
                labels=batch.labels[b, : batch.label_lengths[b]].tolist(),
                tokens=hypothesis.tokens[b, :n].tolist(),
                emission_frames=hypothesis.emission_frames[b, :n].tolist(),
                log_prob=float(hypothesis.log_prob[b]),
                overflow=int(hypothesis.overflow[b]),
            )

    def _utterances(self, rows: "dict[int, _Row]") -> tuple[UtteranceResult, ...]:
        rate = self._driver.frontend.config.log_mel.sample_rate_hz
        ordered = sorted(rows.items())
        if self._references is None:
            ids = [str(index) for index, _ in ordered]
            references = [self._tokenizer.decode(row.labels) for _, row in ordered]
        else:
            ids = [self._references.ids[index] for index, _ in ordered]
            references = [self._references.texts[index] for index, _ in ordered]
        hypotheses = [self._tokenizer.decode(row.tokens) for _, row in ordered]
        words = word_errors(references, hypotheses)
        characters = character_errors(references, hypotheses)
        return tuple(
            UtteranceResult(
                id=ids[i],
                reference=references[i],
                hypothesis=hypotheses[i],
                words=words[i],
                characters=characters[i],
                tokens=tuple(row.tokens),
                pieces=tuple(self._tokenizer.piece(token) for token in row.tokens),
                emission_frames=tuple(row.emission_frames),
                log_prob=row.log_prob,
                overflow=row.overflow,
                audio_s=row.audio_length / rate,
            )
            for i, (_, row) in enumerate(ordered)
        )


@dataclasses.dataclass(frozen=True)
class _Row:
    """The decoding result of one utterance, on the host."""

    audio_length: int
    labels: list[int]
    tokens: list[int]
    emission_frames: list[int]
    log_prob: float
    overflow: int


def _pad_rows(batch: AudioBatch, multiple: int) -> AudioBatch:
    """Pads the rows of a batch to a multiple of ``multiple``."""
    missing = -batch.audio.shape[0] % multiple

    def pad(x, fill=0):
        return np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1), constant_values=fill)

    padded = jax.tree.map(lambda x: pad(np.asarray(x)), batch)
    return padded.replace(utterance_index=pad(np.asarray(batch.utterance_index), -1))
