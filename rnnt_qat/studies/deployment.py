"""Trained recognizers taken to the chip: artefact, graphs, serving program, replay, latency rows.

One recognizer a call; ``chip_comparison`` takes several side by side.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from rnnt_qat.artefact.artefact import Artefact, save
from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.player import Transcript
from rnnt_qat.batch import to_float
from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import ModelDirectoryError, Recognizer, model_directories
from rnnt_qat.export.freeze import FreezeError, freeze
from rnnt_qat.export.matmul_layout import matmul_layout
from rnnt_qat.export.rnnt_graphs import encoder_chunk, joint_step, prediction_step
from rnnt_qat.export.serving_program import export_serving_program
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import from_json, to_json
from rnnt_qat.infra.console import Console, format_duration
from rnnt_qat.infra.provenance import provenance
from rnnt_qat.input_pipeline.corpus import Corpus, open_corpus
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.latency.systems import Method, System, describe
from rnnt_qat.quant.policies import spec_of
from rnnt_qat.serving.freeze import freeze as freeze_for_serving
from rnnt_qat.typing import Float, Int
from rnnt_qat.verify.runtimes import check_loads
from rnnt_qat.verify.verification import (
    Agreement,
    Heard,
    Verification,
    differing_tokens,
    first_differing_token,
    verify,
)

ARTEFACT = "artefact"
"""Folder of the integers in a system's folder."""


def load_systems(directories: Iterable[Path]) -> dict[System, Recognizer]:
    """Recognizers of model directories, or of all that lie below; the float one first.

    Raises:
      ModelDirectoryError: a directory without a model.
      FreezeError: a model that cannot be exported; names it.
    """
    found: dict[System, Recognizer] = {}
    for directory in directories:
        models = model_directories(directory)
        if not models:
            raise ModelDirectoryError(
                f"{directory} holds no recognizer: experiments.train and experiments.sweep write "
                "them into WORKDIR/models and WORKDIR/model_0/POLICY/models"
            )
        for model in models:
            recognizer = Recognizer.load(model)
            origin = recognizer.origin
            # Models of before were trained through their policy in the stage of this name alone.
            trained = origin.get("trained", origin.get("stage") == "aware")
            try:
                system = describe(recognizer.policy, trained)
            except FreezeError as error:
                raise FreezeError(f"{model}: {error}. {_to_a_chip(model)}") from error
            if any(other.name == system.name for other in found):
                system = replace(system, name=f"{system.name} ({model})")
            found[system] = recognizer
    return dict(sorted(found.items(), key=lambda item: item[0].method is not Method.FLOAT))


def require_a_chip(systems: Mapping[System, Recognizer]) -> None:
    """Refuses systems of which none becomes an artefact.

    Raises:
      FreezeError: saying how a model gets onto a chip.
    """
    if all(system.method in (Method.FLOAT, Method.FALLBACK) for system in systems):
        names = ", ".join(recognizer.policy.name for recognizer in systems.values())
        raise FreezeError(
            f"there is no artefact to write: these models ({names}) leave operators between their "
            f"matrix products in floating point. {_to_a_chip(None)}"
        )


def _to_a_chip(model: Path | None) -> str:
    """How a float model comes onto a chip that can be exported."""
    source = "WORKDIR" if model is None else model.parent.parent
    return (
        "To put a trained float model on a chip: python -m experiments.sweep "
        f"--models={source}/models/float --policies=ethos_u_8x8_16 --workdir={source}/sweep, then "
        f"--model={source}/sweep here; or train with --config.precision=ethos_u_8x8_16"
    )


def folder_name(system: System) -> str:
    """A system's name as files have it."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", system.name).strip("_")


def integers(system: System, recognizer: Recognizer) -> RnntIntegers:
    """What the graphs are written from.

    Raises:
      FreezeError: a layer or a range that stands in the way; floating point has no integers.
    """
    if system.method is Method.FALLBACK:
        return matmul_layout(recognizer.model, recognizer.variables)
    return freeze(recognizer.model, recognizer.variables)


def export_recognizer(
    recognizer: Recognizer, model: RnntIntegers, chunks: Sequence[int], folder: Path
) -> Artefact:
    """Writes the artefact, the `.tflite` graphs and the serving program of a frozen recognizer.

    Args:
      recognizer: on a chip.
      model: its integers.
      chunks: encoder frames a chunk, one encoder graph each; the serving program takes the last.
      folder: created; takes ``artefact/``, ``{encoder_N,prediction,joint}.tflite`` and
        ``serving/``.

    Raises:
      ValueError: a runtime refuses a graph; names both.
    """
    folder.mkdir(parents=True)
    labels = range(1, recognizer.tokenizer.vocab_size)
    stats = recognizer.frontend.stats
    policy = {
        "policy": recognizer.policy.name,
        "policy_rules": to_json(spec_of(recognizer.policy)),
    }
    artefact = Artefact(
        model=model,
        pieces=("", *map(recognizer.tokenizer.piece, labels)),
        features=to_json(recognizer.frontend.config)
        | {"mean": np.asarray(stats.mean).tolist(), "std": np.asarray(stats.std).tolist()},
        max_symbols_per_frame=search_of(recognizer).max_symbols_per_frame,
        origin=json.loads(json.dumps(recognizer.origin | policy | provenance())),
    )
    save(artefact, folder / ARTEFACT)
    graphs = {"prediction": prediction_step(model), "joint": joint_step(model)}
    for chunk in chunks:
        graphs[f"encoder_{chunk}"] = encoder_chunk(model, chunk * model.encoder.time_reduction)
    check_loads(graphs)
    for name, graph in graphs.items():
        (folder / f"{name}.tflite").write_bytes(graph)
    transducer = freeze_for_serving(recognizer.model, recognizer.variables)
    (folder / "serving").mkdir()
    frontend, search = recognizer.frontend, search_of(recognizer)
    chunk_ms = chunks[-1] * ChunkDriver(frontend, search.build()).encoder_frame_ms(transducer)
    export_serving_program(frontend, search, transducer, chunk_ms, folder / "serving")
    return artefact


def search_of(recognizer: Recognizer) -> GreedyConfig:
    """Greedy search with the experiment's options: the one that runs on a chip's host."""
    search = recognizer.config.evaluation.search
    return search if isinstance(search, GreedyConfig) else GreedyConfig()


def replay_test_set(
    recognizer: Recognizer,
    model: RnntIntegers,
    split: Split,
    data_dir: Path,
    chunks: Sequence[int],
    evaluated: EvaluationResult,
    progress: Callable[[int, int], None],
) -> Verification:
    """``verify`` over a whole test set, the evaluator's own tokens compared as well.

    Args:
      recognizer: on a chip.
      model: its integers.
      split: the test set.
      data_dir: where corpora are prepared.
      chunks: encoder frames a chunk.
      evaluated: what the batched evaluator found on the test set.
      progress: see ``verify``.
    """
    rate_hz = recognizer.config.frontend.log_mel.sample_rate_hz
    corpus = open_corpus(data_dir, split.corpus, split.split, rate_hz)
    heard = list(hear(recognizer.frontend, corpus))
    found = verify(
        model,
        freeze_for_serving(recognizer.model, recognizer.variables),
        heard,
        chunks,
        search_of(recognizer).max_symbols_per_frame,
        progress,
    )
    by_evaluator = {u.id: (u.tokens, u.emission_frames) for u in evaluated.utterances}
    tokens = differing = 0
    first = ""
    for name, ours in found.transcripts.items():
        theirs = replace_tokens(ours, *by_evaluator[name])
        tokens += len(ours.tokens)
        differing += differing_tokens(ours, theirs)
        if differing and not first:
            first = f"{name}: {first_differing_token(ours, theirs)}"
    batched = Agreement(
        "JAX, batches of audio", 0, len(heard), tokens, differing, first_difference=first
    )
    return replace(found, agreements=(batched, *found.agreements))


def replace_tokens(
    transcript: Transcript, tokens: tuple[int, ...], frames: tuple[int, ...]
) -> Transcript:
    """What another search found in the same audio."""
    return replace(transcript, tokens=tokens, emission_frames=frames)


def hear(frontend: Frontend, corpus: Corpus, chunk_frames: int = 64) -> Iterable[Heard]:
    """Features of every utterance, computed in a stream of chunks by one program."""
    for utterance in corpus:
        yield Heard(utterance.id, features_of(frontend, utterance.audio, chunk_frames))


def features_of(
    frontend: Frontend, samples: Int[np.ndarray, "N"], chunk_frames: int = 64
) -> Float[np.ndarray, "T F"]:
    """Features of one recording, computed in a stream of chunks.

    Args:
      frontend: audio to features.
      samples: int16, at the frontend's rate.
      chunk_frames: features computed at once.
    """
    size = chunk_frames * frontend.config.samples_per_frame
    audio, state, pieces = to_float(samples), frontend.initial_state(1), []
    for start in range(0, len(audio), size):
        chunk = audio[start : start + size]
        padded = np.pad(chunk, (0, size - len(chunk)))[None]
        length = np.array([len(chunk)], np.int32)
        features, _, state = _features(frontend, padded, length, state)
        pieces.append(np.asarray(features[0, : frontend.config.num_frames(len(chunk))]))
    return np.concatenate(pieces)


@jax.jit
def _features(frontend, audio, lengths, state):
    return frontend(audio, lengths, state)


def frontend_of(artefact: Artefact) -> Frontend:
    """The frontend that an artefact describes."""
    settings = dict(artefact.features)
    mean, std = (np.asarray(settings.pop(name), np.float32) for name in ("mean", "std"))
    return Frontend(from_json(FrontendConfig, settings), FeatureStats(mean, std))


def decode_counts(recognizer: Recognizer, result: EvaluationResult, chunk: int) -> DecodeCounts:
    """Calls of the networks in the decodes of a test set, chunk by chunk of encoder frames."""
    config = recognizer.frontend.config
    reduction = recognizer.config.model.encoder.time_reduction
    rate = config.log_mel.sample_rate_hz
    bound = search_of(recognizer).max_symbols_per_frame
    seconds = np.array([u.audio_s for u in result.utterances])
    samples = np.rint(seconds * rate).astype(np.int64)
    full = [
        int((np.unique(u.emission_frames, return_counts=True)[1] >= bound).sum())
        for u in result.utterances
    ]
    return DecodeCounts.of_hypotheses(
        seconds,
        -(-config.num_frames(samples) // reduction),
        np.array([len(u.tokens) for u in result.utterances]),
        chunk,
        np.array(full),
    )


def progress_line(console: Console, what: str) -> Callable[[int, int], None]:
    """A teller of ``(done, total)`` with the time that is left.

    The first piece of work compiles for those after it, so the estimate is of the others' pace.
    """
    began: tuple[float, int] | None = None

    def tell(done: int, total: int) -> None:
        nonlocal began
        now = time.monotonic()
        left = ""
        if began is None:
            began = now, done
        elif done > began[1]:
            seconds = (now - began[0]) * (total - done) / (done - began[1])
            left = f", {format_duration(seconds)} left"
        console.progress(f"{what}: {done / total:.0%}{left}")

    return tell
