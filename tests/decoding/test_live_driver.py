"""Endless streams: the same tokens and endpoints for every chunking, and those of plain loops."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.decoding.endpoint import EndpointConfig, EndpointRule
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.decoding.live_driver import SEGMENT_END, LiveDriver
from tests.decoding.streaming import run_search
from tests.reference.greedy import GreedyReference
from tests.reference.table_transducer import (
    SymbolFrontend,
    ToyRecurrentTransducer,
    random_table,
)

# Tables that know the last 3 labels, and fall silent for a while now and then.
TABLE = random_table(0, 7, 125, 5, blank_bias=2.5)
REDUCED = random_table(1, 7, 125, 5, blank_bias=1.5, time_reduction=2)
CHATTERBOX = random_table(2, 7, 125, 5, blank_bias=-20.0)
TOY = ToyRecurrentTransducer.random(3, 1, 16, 6, blank_bias=2.0, time_reduction=2)
LENGTHS = [120, 0, 47]
AUDIO = np.random.default_rng(5).integers(0, 7, (3, 120)).astype(np.float32)

RULES = EndpointConfig(
    (
        EndpointRule(must_contain_speech=False, min_trailing_silence_s=0.09),
        EndpointRule(min_trailing_silence_s=0.03, max_relative_cost=0.2),
        EndpointRule(min_trailing_silence_s=0.05),
        EndpointRule(must_contain_speech=False, min_utterance_s=0.3),
    )
)  # of frames of 10 ms


@functools.partial(jax.jit, static_argnums=0)
def _step(driver, transducer, audio, lengths, state):
    return driver.step_with_segments(transducer, audio, lengths, state)


@functools.partial(jax.jit, static_argnums=0)
def _finish(driver, state):
    return driver.finish(state), driver.alternatives(state)


def stream(transducer, search, chunk, endpoint=None, lengths=LENGTHS):
    """``(token, frame, log_prob)`` of each row, and ``(end, tokens, log_prob)`` of alternatives."""
    driver = LiveDriver(SymbolFrontend(), search, chunk // transducer.time_reduction, endpoint)
    state = driver.initial_state(transducer, len(lengths))
    shapes = jax.tree.map(jnp.shape, state)
    rows = [[] for _ in lengths]
    alternatives = [[] for _ in lengths]

    def take(emitted):
        for b, row in enumerate(rows):
            n = emitted.length[b]
            part = emitted.tokens, emitted.emission_frames, emitted.token_log_probs
            row += [
                (int(t), int(f), float(p))
                for t, f, p in zip(*(x[b, :n] for x in part), strict=True)
            ]
            assert (emitted.tokens[b, n:] == 0).all()

    for start in range(0, AUDIO.shape[1], chunk):
        audio = AUDIO[: len(lengths), start : start + chunk]
        audio = np.pad(audio, ((0, 0), (0, chunk - audio.shape[1])))
        valid = np.clip(np.array(lengths) - start, 0, chunk)
        handed = [len(segments(row)[-1][0]) for row in rows]
        emitted, ended, state = jax.device_get(_step(driver, transducer, audio, valid, state))
        assert jax.tree.map(jnp.shape, state) == shapes
        take(emitted)
        if ended is None:
            continue
        for t, b in zip(*np.nonzero(ended.ended), strict=True):
            hypotheses = jax.tree.map(lambda x: x[t, b], ended.alternatives)  # noqa: B023
            frame = start // transducer.time_reduction + t + 1
            alternatives[b].append((int(frame), handed[b], _texts(hypotheses)))
            handed[b] = 0
    emitted, _ = jax.device_get(_finish(driver, state))
    take(emitted)
    return rows, alternatives


def _texts(hypotheses):
    alive = hypotheses.log_prob > -np.inf
    return [
        (tokens[:n].tolist(), round(float(p), 3))
        for tokens, n, p in zip(
            hypotheses.tokens[alive],
            hypotheses.length[alive],
            hypotheses.log_prob[alive],
            strict=True,
        )
    ]


def segments(row):
    """Tokens, frames, log-probabilities and end of each segment; the last one may be open."""
    found = [([], [], [], None)]
    for token, frame, log_prob in row:
        if token == SEGMENT_END:
            found[-1] = (*found[-1][:3], (frame, log_prob))
            found.append(([], [], [], None))
        else:
            for part, value in zip(found[-1][:3], (token, frame, log_prob), strict=True):
                part.append(value)
    return found


def same(got, want):
    """Tokens and frames are equal, log-probabilities up to the order of sums."""
    assert [[(t, f) for t, f, _ in row] for row in got] == [
        [(t, f) for t, f, _ in row] for row in want
    ]
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(
            [p for *_, p in ours], [p for *_, p in theirs], rtol=1e-4, atol=1e-4
        )


def loop(transducer, row, length, max_symbols, endpoint):
    """Greedy search with endpoint rules, a frame at a time in Python; 10 ms a frame of features."""
    r = transducer.time_reduction
    frame_s = 0.01 * r
    found, encoder = [], transducer.initial_encoder_state(1)
    reference = GreedyReference(transducer)

    def fresh():
        return reference.predict(np.array([0], np.int32), transducer.initial_prediction_state(1))

    predicted, prediction = fresh()
    began, spoken, cost, blanks, total = 0, None, 0.0, 0, 0.0
    for frame in range(-(-length // r)):
        part = row[None, frame * r : (frame + 1) * r, None]
        mask = np.arange(frame * r, (frame + 1) * r)[None] < length
        encoded, _, encoder = reference.encode(part, mask, encoder)
        for symbols in range(max_symbols + 1):
            logits = np.asarray(reference.joint(encoded[:, 0], predicted))[0].astype(np.float64)
            label = 0 if symbols == max_symbols else int(np.argmax(logits))
            log_prob = log_softmax(logits)[label]
            total += log_prob
            if label == 0:
                cost, blanks = cost - log_prob, blanks + 1
                break
            found.append((label, frame, log_prob))
            spoken, cost, blanks = frame, 0.0, 0
            predicted, prediction = reference.predict(np.array([label], np.int32), prediction)
        trailing = (frame - began + 1 if spoken is None else frame - spoken) * frame_s
        over = any(
            not (rule.must_contain_speech and spoken is None)
            and trailing > rule.min_trailing_silence_s - 1e-9
            and cost / max(blanks, 1) <= rule.max_relative_cost
            and (frame + 1 - began) * frame_s > rule.min_utterance_s - 1e-9
            for rule in endpoint.rules
        )
        if over:
            found.append((SEGMENT_END, frame + 1, total))
            predicted, prediction = fresh()
            if endpoint.restart_encoder:
                encoder = transducer.initial_encoder_state(1)
            began, spoken, cost, blanks, total = frame + 1, None, 0.0, 0, 0.0
    return [*found, (SEGMENT_END, -(-length // r), total)]


@pytest.mark.parametrize("transducer", [TABLE, REDUCED, CHATTERBOX, TOY])
def test_greedy_hands_over_what_the_whole_recording_gives(transducer):
    search = GreedyConfig(max_symbols_per_frame=3, max_tokens=1)  # a chunk's room is its own
    reference = GreedyReference(transducer)
    want = []
    for row, length in zip(AUDIO, LENGTHS, strict=True):
        found = reference(row[:, None], length, 3)
        assert not math.isnan(found.log_prob)
        want.append(list(zip(found.tokens, found.emission_frames, strict=True)))
    assert max(map(len, want)) > 10
    for chunk in (2, 8, 120):
        rows, _ = stream(transducer, search, chunk)
        assert [[(t, f) for t, f, _ in row[:-1]] for row in rows] == want
        assert [row[-1][:2] for row in rows] == [
            (SEGMENT_END, -(-length // transducer.time_reduction)) for length in LENGTHS
        ]


@pytest.mark.parametrize("restart_encoder", [False, True])
@pytest.mark.parametrize("transducer", [TABLE, TOY])
def test_greedy_endpoints_are_those_of_a_loop_for_every_chunking(transducer, restart_encoder):
    endpoint = dataclasses.replace(RULES, restart_encoder=restart_encoder)
    want = [
        loop(transducer, row, length, 3, endpoint)
        for row, length in zip(AUDIO, LENGTHS, strict=True)
    ]
    assert sum(t == SEGMENT_END for t, *_ in want[0]) > 3
    for chunk in (2, 8, 120):
        rows, _ = stream(transducer, GreedyConfig(3), chunk, endpoint)
        same(rows, want)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transducer", "restart_encoder"),
    [(TABLE, False), pytest.param(REDUCED, True, marks=pytest.mark.exhaustive)],
)
def test_beam_endpoints_and_alternatives_do_not_depend_on_the_chunks(transducer, restart_encoder):
    endpoint = dataclasses.replace(RULES, restart_encoder=restart_encoder)
    search = BeamConfig(beam_size=3, max_symbols_per_frame=2)
    whole, alternatives = stream(transducer, search, 120, endpoint)
    assert sum(t == SEGMENT_END for t, *_ in whole[0]) > 3
    # Each segment is what the search finds in its frames alone.
    r = transducer.time_reduction
    found, begin = segments(whole[0]), 0
    for tokens, frames, _, end in found[:-1]:
        if restart_encoder or begin == 0:
            part = AUDIO[0, begin * r : end[0] * r]
            features = np.pad(part, (0, AUDIO.shape[1] - len(part)))[None, :, None]
            _, alone = run_search(transducer, features, [len(part)], search)
            n = alone.length[0]
            assert alone.tokens[0, :n].tolist() == tokens
            assert (alone.emission_frames[0, :n] + begin).tolist() == frames
            np.testing.assert_allclose(alone.log_prob[0], end[1], rtol=1e-4)
        begin = end[0]
    for chunk in (8,):
        rows, others = stream(transducer, search, chunk, endpoint)
        same(rows, whole)
        for b, row in enumerate(rows):
            # A stream may end where its last segment did: the first of an end counts.
            tokens_of = {end[0]: tokens for tokens, *_, end in reversed(segments(row)) if end}
            assert len(others[b]) == len(alternatives[b])
            for (end, handed, ours), (want_end, _, theirs) in zip(
                others[b], alternatives[b], strict=True
            ):
                assert end == want_end
                prefix = tokens_of[end][:handed]
                assert [prefix + t for t, _ in ours] == [t for t, _ in theirs]
                assert [p for _, p in ours] == pytest.approx([p for _, p in theirs], abs=2e-3)
                assert theirs[0][0] == tokens_of[end]


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("pending", [3, 256])
def test_beam_without_endpoints_hands_over_the_whole_recordings_tokens(pending):
    search = BeamConfig(3, 2, max_tokens=240, max_pending_tokens=pending)
    _, best = run_search(TABLE, jnp.asarray(AUDIO[..., None]), LENGTHS, search)
    assert best.overflow.max() == 0
    assert best.length[0] > 12
    for chunk in (2, 24):
        rows, _ = stream(TABLE, search, chunk)
        for b, row in enumerate(rows):
            n = best.length[b]
            want = list(
                zip(best.tokens[b, :n].tolist(), best.emission_frames[b, :n].tolist(), strict=True)
            )
            assert [(t, f) for t, f, _ in row[:-1]] == want
            np.testing.assert_allclose(
                [p for *_, p in row[:-1]], best.token_log_probs[b, :n], rtol=1e-5, atol=1e-5
            )
            np.testing.assert_allclose(row[-1][2], best.log_prob[b], rtol=1e-4)


def test_a_beam_that_never_agrees_stays_within_its_room():
    """Two labels that nothing tells apart: without the bound all tokens would stay undecided."""
    logits = np.full((1, 27, 3), -9.0, np.float32)
    logits[..., 1] = 1.0
    logits[0, :, 2] = 0.999  # the likelier first label decides nothing about the next
    transducer = dataclasses.replace(random_table(0, 1, 27, 3), logits=jnp.asarray(logits))
    search = BeamConfig(4, 1, max_tokens=240, max_pending_tokens=5)
    state, best = run_search(transducer, jnp.zeros((1, 120, 1)), [120], search)
    alternatives = search.build().alternatives(state)
    alive = alternatives.log_prob[0] > -np.inf
    assert alive.sum() > 1
    tokens = alternatives.tokens[0][alive, : best.length[0]]
    assert (tokens[:, :-5] == tokens[:1, :-5]).all()
    assert (tokens[:, -5:] != tokens[:1, -5:]).any()
    (row,), _ = stream(transducer, search, 6, lengths=[120])
    assert [t for t, *_ in row[:-1]] == best.tokens[0, : best.length[0]].tolist()


def test_log_probabilities_are_told_apart_after_a_day():
    """A beam that has cost 1e7 nats, where float32 steps by 1, still ranks by hundredths."""
    search = BeamConfig(3, 2, max_tokens=200).build()
    features = jnp.asarray(AUDIO[:1, :80, None])
    fresh = search.initial_state(TABLE, 1)
    late = dataclasses.replace(fresh, best_log_prob=fresh.best_log_prob - 1e7)
    encoded, mask, _ = TABLE.encode(
        features, jnp.ones((1, 80), bool), TABLE.initial_encoder_state(1)
    )
    early, late = (search.step(TABLE, encoded, mask, state) for state in (fresh, late))
    np.testing.assert_array_equal(early.beam.hypothesis.tokens, late.beam.hypothesis.tokens)
    np.testing.assert_array_equal(early.beam.log_prob, late.beam.log_prob)


def test_the_rules_are_checked():
    with pytest.raises(ValueError, match="it would end the utterance at every frame"):
        EndpointRule()
    with pytest.raises(ValueError, match="min_utterance_s must be 0 or more, got -1"):
        EndpointRule(min_utterance_s=-1)
    with pytest.raises(ValueError, match="rules is empty"):
        EndpointConfig(())
    driver = LiveDriver(SymbolFrontend(), GreedyConfig(), 4)
    state = driver.initial_state(TABLE, 1)
    with pytest.raises(ValueError, match=r"is 6 encoder frames: .* at most chunk_frames=4"):
        driver.step(TABLE, jnp.zeros((1, 6)), jnp.array([6]), state)
