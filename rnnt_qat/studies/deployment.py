"""Deployment of one recognizer: artefact, graphs, serving program, replay, decode counts.

``chip_comparison`` applies these functions to several recognizers.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from rnnt_qat.artefact.artefact import Artefact, save
from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.player import Transcript
from rnnt_qat.artefact.runtime_arithmetic import RuntimeArithmetic
from rnnt_qat.batch import to_float
from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.export.freeze import freeze
from rnnt_qat.export.matmul_layout import matmul_layout
from rnnt_qat.export.rnnt_graphs import encoder_chunk, joint_step, prediction_step
from rnnt_qat.export.serving_program import export_serving_program
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.infra.config import to_json
from rnnt_qat.infra.provenance import provenance
from rnnt_qat.input_pipeline.corpus import Corpus, open_corpus
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.latency.systems import Method, System
from rnnt_qat.quant.policies import spec_of
from rnnt_qat.serving.freeze import freeze as freeze_for_serving
from rnnt_qat.typing import Float, Int
from rnnt_qat.verify.runtimes import check_loads
from rnnt_qat.verify.tosa import TosaError, TosaReference, tosa_tools
from rnnt_qat.verify.verification import (
    Agreement,
    UtteranceFeatures,
    Verification,
    differing_tokens,
    first_differing_token,
    verify,
)

ARTEFACT = "artefact"
"""Name of the artefact's folder within a system's folder."""


def folder_name(system: System) -> str:
    """Returns a system's name in the form used for folders."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", system.name).strip("_")


def integers(system: System, recognizer: Recognizer) -> RnntIntegers:
    """Freezes a recognizer to the integers from which artefact and graphs are written.

    Args:
      system: the system, whose method selects the operators on the CPU.
      recognizer: a recognizer under a chip's policy.

    Raises:
      FreezeError: if a layer or range cannot be exported, or the recognizer is a float one.
    """
    if system.method is Method.FALLBACK:
        return matmul_layout(recognizer.model, recognizer.variables)
    return freeze(recognizer.model, recognizer.variables)


def export_recognizer(
    recognizer: Recognizer, model: RnntIntegers, chunks: Sequence[int], folder: Path
) -> Artefact:
    """Writes the artefact, the `.tflite` graphs and the serving program of a frozen recognizer.

    Args:
      recognizer: a recognizer under a chip's policy.
      model: the recognizer's integers.
      chunks: chunk sizes in encoder frames, with one encoder graph each; the serving program uses
        the last one.
      folder: output folder of ``artefact/``, ``{encoder_N,prediction,joint}.tflite`` and
        ``serving/``; created if missing. In TOSA's arithmetic also of the graphs that Arm's
        converter makes of them, ``.tosa``, where it is installed.

    Returns:
      The written artefact.

    Raises:
      ValueError: if a runtime rejects a graph; the message names both.
      TosaError: if Arm's converter rejects a graph.
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
    if not isinstance(model.arithmetic, RuntimeArithmetic) and has_tosa_tools():
        for name, graph in graphs.items():
            (folder / f"{name}.tosa").write_bytes(TosaReference(graph).program)
    transducer = freeze_for_serving(recognizer.model, recognizer.variables)
    (folder / "serving").mkdir()
    frontend, search = recognizer.frontend, search_of(recognizer)
    chunk_ms = chunks[-1] * ChunkDriver(frontend, search.build()).encoder_frame_ms(transducer)
    export_serving_program(frontend, search, transducer, chunk_ms, folder / "serving")
    return artefact


def has_tosa_tools() -> bool:
    """Returns whether TOSA's programs are installed; the replay says so where they are not."""
    try:
        tosa_tools()
    except TosaError:
        return False
    return True


def search_of(recognizer: Recognizer) -> GreedyConfig:
    """Returns the greedy search, which runs on a chip's host, with the experiment's options."""
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
    """Runs ``verify`` on a test set and compares the batched evaluator's tokens as well.

    Args:
      recognizer: a recognizer under a chip's policy.
      model: the recognizer's integers.
      split: the test set.
      data_dir: folder of the prepared corpora.
      chunks: chunk sizes in encoder frames.
      evaluated: result of the batched evaluator on the test set.
      progress: called with the numbers of processed and of all feature frames.

    Returns:
      The agreement of every decoder with the player.
    """
    rate_hz = recognizer.config.frontend.log_mel.sample_rate_hz
    corpus = open_corpus(data_dir, split.corpus, split.split, rate_hz)
    utterances = list(utterance_features(recognizer.frontend, corpus))
    found = verify(
        model,
        freeze_for_serving(recognizer.model, recognizer.variables),
        utterances,
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
        "JAX, batches of audio", 0, len(utterances), tokens, differing, first_difference=first
    )
    return replace(found, agreements=(batched, *found.agreements))


def replace_tokens(
    transcript: Transcript, tokens: tuple[int, ...], frames: tuple[int, ...]
) -> Transcript:
    """Returns a transcript with the tokens and frames of another search on the same audio.

    Args:
      transcript: transcript to copy.
      tokens: labels.
      frames: encoder frame of each label's emission.
    """
    return replace(transcript, tokens=tokens, emission_frames=frames)


def utterance_features(
    frontend: Frontend, corpus: Corpus, chunk_frames: int = 64
) -> Iterable[UtteranceFeatures]:
    """Yields the features of every utterance, computed in chunks by one program.

    Args:
      frontend: computes features from audio.
      corpus: the utterances.
      chunk_frames: feature frames per chunk.
    """
    for utterance in corpus:
        yield UtteranceFeatures(utterance.id, features_of(frontend, utterance.audio, chunk_frames))


def features_of(
    frontend: Frontend, samples: Int[np.ndarray, "N"], chunk_frames: int = 64
) -> Float[np.ndarray, "T F"]:
    """Computes the features of one recording in chunks.

    Args:
      frontend: computes features from audio.
      samples: int16 samples ``[N]`` at the frontend's rate.
      chunk_frames: feature frames per chunk.

    Returns:
      Features, ``[T, F]``.
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


def decode_counts(recognizer: Recognizer, result: EvaluationResult, chunk: int) -> DecodeCounts:
    """Counts the calls of each network when a test set is decoded in chunks.

    Args:
      recognizer: the recognizer that decoded.
      result: its result on the test set.
      chunk: encoder frames per chunk.
    """
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
