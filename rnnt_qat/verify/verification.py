"""Verifies that the JAX model, the player and the exported graphs compute the same integers.

Each of them decodes every utterance of a test set with greedy search and its own decisions. Tokens,
emission frames, labels, projections and, after every call, every recurrent state are compared with
the player's for equality. TFLM rounds differently, so it is compared with the player under TFLM's
arithmetic, which fields of the artefact describe.

A recognizer in TOSA's arithmetic is compared with TOSA's reference model instead of LiteRT and
TFLM. The player decodes and the reference model computes every call of it again
(``call_replay``), where its programs are installed.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import numpy as np
from jaxtyping import Float

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.player import (
    Player,
    StreamingRecognizer,
    Transcript,
    greedy,
    quantize_features,
)
from rnnt_qat.artefact.runtime_arithmetic import TFLM, RuntimeArithmetic
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.verify.call_replay import RecordedPlayer, compare_calls
from rnnt_qat.verify.operator_trace import OperatorTrace
from rnnt_qat.verify.replay import GraphRecognizer, Inspectable, first_difference
from rnnt_qat.verify.runtimes import LiteRt, Tflm
from rnnt_qat.verify.tosa import TosaError, TosaReference, tosa_tools
from rnnt_qat.verify.trace import Comparison, Traced, compare_traces
from rnnt_qat.verify.transducer_replay import TransducerRecognizer


@dataclass(frozen=True, eq=False)
class UtteranceFeatures:
    """The features of one utterance, as the encoder receives them.

    Attributes:
      id: the utterance's name.
      features: normalised and stacked log-mel frames, ``[T, F]``.
    """

    id: str
    features: Float[np.ndarray, "T F"]


@dataclass(frozen=True)
class Agreement:
    """The comparison of one decoder with the player on a test set.

    Attributes:
      decoder: name of the decoder.
      chunk_frames: encoder frames per chunk.
      utterances: number of utterances decoded.
      tokens: number of tokens of the player.
      differing_tokens: number of places in an utterance at which the decoder has another, a missing
        or an additional token, or the same token at another frame.
      integers: number of results and states compared.
      differing_integers: number of them that differ.
      first_difference: utterance, call, tensor and element; empty if nothing differs.
    """

    decoder: str
    chunk_frames: int
    utterances: int = 0
    tokens: int = 0
    differing_tokens: int = 0
    integers: int = 0
    differing_integers: int = 0
    first_difference: str = ""

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return not (self.differing_tokens or self.differing_integers or self.first_difference)


@dataclass(frozen=True)
class Verification:
    """Result of ``verify``.

    Attributes:
      agreements: one per decoder and chunk size.
      transcripts: the player's transcript of each utterance, under the model's own arithmetic.
      tflm_differing_tokens: number of TFLM's tokens that differ from those of the model's
        arithmetic: the effect of the other rounding on recognition. None if TFLM did not run.
      missing: why a runtime was not compared; empty if all were.
    """

    agreements: tuple[Agreement, ...]
    transcripts: dict[str, Transcript]
    tflm_differing_tokens: int | None
    missing: str = ""


def verify(
    model: RnntIntegers,
    transducer: Transducer,
    utterances: Sequence[UtteranceFeatures],
    chunks: Sequence[int],
    max_symbols_per_frame: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Decodes every utterance with every decoder and compares the results.

    JAX and TFLM use the first chunk size; if it is 1, their states are compared after every encoder
    frame. LiteRT uses every chunk size. TFLM hides the states of fused LSTMs, so for TFLM and its
    player silence completes the last chunk. In TOSA's arithmetic, TOSA's reference model
    takes the place of both, with every chunk size.

    Args:
      model: the integers frozen from ``transducer``.
      transducer: the model of the serving program, in JAX.
      utterances: the test set.
      chunks: chunk sizes in encoder frames.
      max_symbols_per_frame: maximum number of labels per encoder frame.
      progress: called with the number of feature frames processed and their total; frames that
        TOSA's reference model computes count again, for the player's calls and for its own.
    """
    missing = _missing_runtimes(model)
    on_tosa = not isinstance(model.arithmetic, RuntimeArithmetic) and not missing
    passes = 1 + 2 * len(chunks) * on_tosa
    group = model.encoder.time_reduction
    pairs = list(_pairs(model, transducer, chunks))
    agreements = [Agreement(pair.name, pair.chunk) for pair in pairs]
    transcripts: dict[str, Transcript] = {}
    total, done, tflm_differing = sum(len(u.features) for u in utterances), 0, 0
    for utterance in utterances:
        players: dict[tuple, tuple[Traced, Transcript]] = {}
        for n, pair in enumerate(pairs):
            features = utterance.features
            chunk = pair.chunk * group
            if pair.whole_chunks:
                features = np.pad(features, ((0, -len(features) % chunk), (0, 0)))
            integers = quantize_features(features, model.encoder.layers[0].input)
            key = (pair.reference, pair.chunk)
            if key not in players:
                player = Traced(pair.reference)
                players[key] = player, greedy(player, integers, chunk, max_symbols_per_frame)
            player, ours = players[key]
            other = Traced(pair.decoder)
            heard = features if pair.real_features else integers
            theirs = greedy(other, heard, chunk, max_symbols_per_frame)
            compared = compare_traces(player.steps, other.steps)
            first = "" if compared.first is None else str(compared.first)
            if first and not agreements[n].first_difference and pair.inspect:
                # Runs the same stream again to find the operator.
                inspected = first_difference(model, integers, chunk, pair.inspect(), heard)
                first = str(inspected or first)
            agreements[n] = _add(agreements[n], utterance.id, compared, first, ours, theirs)
            if pair.whole_chunks:
                tflm_differing += differing_tokens(transcripts[utterance.id], theirs)
            else:
                transcripts.setdefault(utterance.id, ours)
        done += len(utterance.features)
        progress(done, passes * total)
    if isinstance(model.arithmetic, RuntimeArithmetic):
        return Verification(tuple(agreements), transcripts, tflm_differing)
    for chunk in chunks if on_tosa else ():

        def at(frames: int, before: int = done) -> None:
            progress(before + frames, passes * total)

        agreements.append(_replay_on_tosa(model, utterances, chunk, max_symbols_per_frame, at))
        done += 2 * total
    return Verification(tuple(agreements), transcripts, None, missing)


def _missing_runtimes(model: RnntIntegers) -> str:
    """Returns which programs a model cannot be compared with, for lack of them; or ""."""
    if isinstance(model.arithmetic, RuntimeArithmetic):
        return ""
    try:
        tosa_tools()
    except TosaError as error:
        return f"not compared with TOSA's reference model: {error}"
    return ""


def _replay_on_tosa(
    model: RnntIntegers,
    utterances: Sequence[UtteranceFeatures],
    chunk: int,
    max_symbols: int,
    progress: Callable[[int], None],
) -> Agreement:
    """Returns the agreement of TOSA's reference model with the player in every call."""
    player = RecordedPlayer(model)
    tensor_format, frames = model.encoder.layers[0].input, chunk * model.encoder.time_reduction
    found, total = [], 0
    for utterance in utterances:
        features = quantize_features(utterance.features, tensor_format)
        found.append(greedy(player, features, frames, max_symbols))
        total += len(utterance.features)
        progress(total)
    compared = compare_calls(
        model,
        player.calls,
        TosaReference,
        lambda done, calls: progress(total + total * done // calls),
    )
    return Agreement(
        "TOSA reference model",
        chunk,
        utterances=len(utterances),
        tokens=sum(len(transcript.tokens) for transcript in found),
        differing_tokens=compared.differing_labels,
        integers=compared.integers,
        differing_integers=compared.differing,
        first_difference=str(compared.first or ""),
    )


def differing_tokens(ours: Transcript, theirs: Transcript) -> int:
    """Counts the places at which two transcripts have different tokens or emission frames."""
    return sum(a != b for a, b in _side_by_side(ours, theirs))


def first_differing_token(ours: Transcript, theirs: Transcript) -> str:
    """Describes the first difference of two transcripts.

    Raises:
      ValueError: the transcripts are equal.
    """
    for place, (a, b) in enumerate(_side_by_side(ours, theirs)):
        if a != b:
            return f"token {place} is {_emission(b)}, the player's is {_emission(a)}"
    raise ValueError("the transcripts hold the same tokens at the same frames")


def _side_by_side(ours: Transcript, theirs: Transcript) -> Iterator[tuple[tuple | None, ...]]:
    emitted = (zip(t.tokens, t.emission_frames, strict=True) for t in (ours, theirs))
    return zip_longest(*emitted)


def _emission(found: tuple[int, int] | None) -> str:
    return "missing" if found is None else f"label {found[0]} at frame {found[1]}"


@dataclass(frozen=True, eq=False)
class _Pair:
    """A decoder and the player that it must equal."""

    name: str
    decoder: StreamingRecognizer
    reference: Player
    chunk: int
    real_features: bool = False
    whole_chunks: bool = False
    inspect: Callable[[], Inspectable] | None = None
    """Creates the decoder again, with the results of every operator available."""


def _pairs(model: RnntIntegers, transducer: Transducer, chunks: Sequence[int]) -> Iterator[_Pair]:
    player = Player(model)
    yield _Pair(
        "JAX serving model",
        TransducerRecognizer(transducer, model),
        player,
        chunks[0],
        real_features=True,
        inspect=lambda: OperatorTrace(transducer, model),
    )
    if not isinstance(model.arithmetic, RuntimeArithmetic):
        return
    for chunk in chunks:
        yield _Pair(
            "LiteRT reference kernels",
            GraphRecognizer(model, LiteRt),
            player,
            chunk,
            inspect=lambda: GraphRecognizer(model, partial(LiteRt, keep_tensors=True)),
        )
    as_tflm = dataclasses.replace(model, arithmetic=TFLM)
    graphs = GraphRecognizer(as_tflm, Tflm)
    yield _Pair("TFLM (its arithmetic)", graphs, Player(as_tflm), chunks[0], whole_chunks=True)


def _add(
    so_far: Agreement,
    utterance: str,
    compared: Comparison,
    first: str,
    ours: Transcript,
    theirs: Transcript,
) -> Agreement:
    tokens = differing_tokens(ours, theirs)
    if tokens and not first:
        first = first_differing_token(ours, theirs)
    return dataclasses.replace(
        so_far,
        utterances=so_far.utterances + 1,
        tokens=so_far.tokens + len(ours.tokens),
        differing_tokens=so_far.differing_tokens + tokens,
        integers=so_far.integers + compared.integers,
        differing_integers=so_far.differing_integers + compared.differing,
        first_difference=so_far.first_difference or (first and f"{utterance}: {first}"),
    )
