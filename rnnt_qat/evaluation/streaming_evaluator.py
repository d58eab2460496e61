"""Stream-decodes a whole test set: one program a bucket shape, for every checkpoint.

The parameters are an argument of the program, rows are cut over the mesh, and each device runs its
rows to the end without asking the others: a row costs its own device its own steps.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

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


class Tokenizer(Protocol):
    """What the evaluator needs of a tokenizer."""

    def decode(self, labels: Iterable[int]) -> str:
        """Text of some tokens."""

    def piece(self, label: int) -> str:
        """Text of one token, a space where a word starts."""


class References(Protocol):
    """Names and transcripts of a split, e.g. a ``Corpus``; ``utterance_index`` points into them."""

    @property
    def ids(self) -> Sequence[str]:
        """Names, in the split's order."""

    @property
    def texts(self) -> Sequence[str]:
        """Transcripts, in the split's order."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How a test set is decoded.

    Attributes:
      search: options of the search; their type says which search it is.
      chunk_ms: sizes of the chunks in which audio arrives, one result each, whole encoder frames;
        0 gives each utterance in one piece. Greedy search finds the same tokens for all of them.
      bootstrap: how intervals are drawn.
      timed_repeats: decode one batch of every bucket this many times more to measure the real-time
        factor; 0 measures nothing.
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
        """Refuses chunks that are no whole encoder frames, before anything is trained or decoded.

        Args:
          frame_ms: audio that an encoder frame advances.

        Raises:
          ConfigError: naming the chunk and the nearest that will do.
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
    """Decodes a test set with any parameters of one model.

    Attributes:
      name: of the test set; prefix of its metrics.
      compilations: programs compiled so far, at most one a chunk size and bucket shape.
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
        """Prepares the programs; nothing is compiled yet.

        Args:
          config: how to decode.
          make_transducer: parameters (any pytree) to a recognizer; called while tracing.
          frontend: audio to features.
          tokenizer: tokens to text.
          batches: the test set, iterated anew by every evaluation. Rows of ``utterance_index`` -1
            are padding. On several processes each gives its own rows, in as many batches and the
            same shapes.
          references: ids and transcripts; without them an utterance is called by its index and its
            reference is what its labels decode to.
          mesh: devices to decode on; all of them by default.
          name: of the test set.
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

    def run(self, params: PyTree) -> Iterator[tuple[str, float]]:
        """Metrics of the test set as ``(name/metric, value)``, for a trainer's log.

        The first chunk size has the plain names; another one's end in ``@<chunk_ms>ms``.
        """
        for i, result in enumerate(self.evaluate(params)):
            suffix = f"@{result.chunk_ms or 0:g}ms" if i else ""
            for metric, value in result.metrics():
                yield f"{self.name}/{metric}{suffix}", value

    def evaluate(self, params: PyTree, system: str = "model") -> list[EvaluationResult]:
        """Decodes the test set, one result a chunk size.

        Args:
          params: what ``make_transducer`` takes, on the host or on any devices.
          system: name of the parameters, for comparisons.
        """
        params = self._place(params)
        return [self._evaluate(params, system, ms) for ms in self.config.chunk_ms]

    def _program(self, chunk_ms: float | None):
        def decode(params, audio, audio_lengths):
            # Python runs while tracing only, so the two facts are noted once a compilation.
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
                check_vma=False,  # devices part ways in while loops, which is what we want
            )
        )

    def _place(self, params: PyTree) -> PyTree:
        """Parameters that live elsewhere come to the mesh; those that live on it stay as cut."""
        devices = set(self._mesh.devices.flat)

        def place(leaf):
            if isinstance(leaf, jax.Array) and leaf.sharding.device_set == devices:
                return leaf
            return jax.device_put(leaf, replicated(self._mesh))

        return jax.tree.map(place, params)

    def _evaluate(self, params: PyTree, system: str, ms: float) -> EvaluationResult:
        program = self._programs[ms]
        rows: dict[int, _Row] = {}
        timed: dict[tuple[int, ...], AudioBatch] = {}
        in_flight = None
        for batch in self._batches:
            batch = global_batch(_pad_rows(batch, len(self._mesh.local_devices)), self._mesh)
            hypothesis = program(params, batch.audio, batch.audio_lengths)
            if self.config.timed_repeats:
                timed.setdefault(batch.audio.shape, batch)
            # The host prepares the next batch while the devices decode this one.
            self._collect(in_flight, rows)
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
        factor = measure_real_time_factor(
            lambda: [program(params, b.audio, b.audio_lengths) for b in timed.values()],
            audio_s,
            self.config.timed_repeats,
        )
        return dataclasses.replace(result, real_time_factor=factor)

    def _collect(self, decoded: tuple[AudioBatch, Hypothesis] | None, rows: dict) -> None:
        """Hypotheses of one batch come to the host; waits for the devices."""
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
    """What the devices say of one utterance."""

    audio_length: int
    labels: list[int]
    tokens: list[int]
    emission_frames: list[int]
    log_prob: float
    overflow: int


def _pad_rows(batch: AudioBatch, multiple: int) -> AudioBatch:
    """Rows up to a multiple of the devices; the new ones are padding."""
    missing = -batch.audio.shape[0] % multiple

    def pad(x, fill=0):
        return np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1), constant_values=fill)

    padded = jax.tree.map(lambda x: pad(np.asarray(x)), batch)
    return padded.replace(utterance_index=pad(np.asarray(batch.utterance_index), -1))
