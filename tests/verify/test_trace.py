"""Traces of decodes: what differs first, and how much (test_freeze has them all agree)."""

import dataclasses

import numpy as np

from rnnt_qat.artefact.player import Player, greedy
from rnnt_qat.artefact.runtime_arithmetic import TFLM
from rnnt_qat.verify.trace import Traced, compare_traces
from rnnt_qat.verify.verification import differing_tokens, first_differing_token
from tests.export.random_integers import random_features, random_rnnt


def test_a_trace_tells_the_first_difference_and_stops_where_searches_part():
    rng = np.random.default_rng(0)
    model = random_rnnt(rng, wide=False)
    features = random_features(rng, model, 60)
    ours, theirs = (
        Traced(Player(model)),
        Traced(Player(dataclasses.replace(model, arithmetic=TFLM))),
    )
    transcripts = [greedy(traced, features, 2, 3) for traced in (ours, theirs)]
    assert compare_traces(ours.steps, ours.steps).differing == 0
    compared = compare_traces(ours.steps, theirs.steps)
    assert 0 < compared.differing < compared.integers
    assert compared.first.step == next(
        a.name
        for a, b in zip(ours.steps, theirs.steps, strict=False)
        if any(np.any(a.tensors[t] != b.tensors[t]) for t in a.tensors)
    )
    assert differing_tokens(*transcripts) > 0
    assert differing_tokens(transcripts[0], transcripts[0]) == 0


def test_differing_tokens_count_places():
    found = greedy(Player(random_rnnt(np.random.default_rng(0), wide=False)), _silence(), 2, 1)
    shorter = dataclasses.replace(
        found, tokens=found.tokens[:-2], emission_frames=found.emission_frames[:-2]
    )
    late = dataclasses.replace(found, emission_frames=tuple(f + 1 for f in found.emission_frames))
    assert len(found.tokens) > 2
    assert differing_tokens(found, shorter) == differing_tokens(shorter, found) == 2
    assert differing_tokens(found, late) == len(found.tokens)
    cut, label, frame = len(shorter.tokens), found.tokens[0], found.emission_frames[0]
    assert first_differing_token(found, shorter).startswith(f"token {cut} is missing, the player's")
    assert first_differing_token(found, late) == (
        f"token 0 is label {label} at frame {frame + 1}, the player's is label {label} "
        f"at frame {frame}"
    )


def _silence():
    return np.zeros((20, 24), np.int8)
