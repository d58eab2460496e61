"""A test set through every decoder: equal when they are, and named by call and tensor when not."""

import dataclasses

import numpy as np
import pytest

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.export.arithmetic import TFLM
from rnnt_qat.export.freeze import freeze
from rnnt_qat.export.player import Player, greedy, quantize_features
from rnnt_qat.export.trace import Traced, compare_traces
from rnnt_qat.export.verification import Heard, differing_tokens, verify
from rnnt_qat.models.bound_transducer import BoundTransducer
from tests.export.random_integers import random_features, random_rnnt
from tests.export.test_freeze import LSTM_PREDICTION, calibrated, on


@pytest.fixture(scope="module")
def trained():
    model, variables, features = calibrated(on(ETHOS_U_8X8_16), LSTM_PREDICTION)
    rng = np.random.default_rng(1)
    others = [rng.normal(size=(frames, features.shape[1])).astype(np.float32) for frames in (8, 5)]
    heard = [Heard(f"u{n}", x) for n, x in enumerate((features, *others))]
    return freeze(model, variables), BoundTransducer(variables, model), heard


@pytest.mark.slow
def test_every_decoder_agrees_on_every_utterance(trained):
    frozen, transducer, heard = trained
    told = []
    found = verify(frozen, transducer, heard, (1, 3), 2, lambda *work: told.append(work))
    names = [(a.decoder.split()[0], a.chunk_frames) for a in found.agreements]
    assert names == [("JAX", 1), ("LiteRT", 1), ("LiteRT", 3), ("TFLM", 1)]
    for agreement in found.agreements:
        assert agreement.exact, agreement
        assert agreement.utterances == 3
        assert agreement.tokens > 0
        assert agreement.integers > 200
    assert told[-1] == (sum(len(u.features) for u in heard),) * 2
    integers = quantize_features(heard[0].features, frozen.encoder.layers[0].input)
    assert found.transcripts["u0"] == greedy(Player(frozen), integers, 2, 2)


@pytest.mark.slow
def test_one_wrong_weight_is_found_and_named(trained):
    frozen, transducer, heard = trained
    first, second = frozen.encoder.layers
    kernel = second.w_hh.copy()
    kernel[3, 5] ^= 64  # the output gate of unit 5
    layers = (first, dataclasses.replace(second, w_hh=kernel))
    encoder = dataclasses.replace(frozen.encoder, layers=layers)
    wrong = dataclasses.replace(frozen, encoder=encoder)
    jax_model, *graphs = verify(wrong, transducer, heard, (1,), 2).agreements
    assert jax_model.differing_integers > 0
    assert jax_model.first_difference.startswith("u0: encoder chunk ")
    assert "encoder/lstm_1/hidden[5]" in jax_model.first_difference
    assert all(agreement.exact for agreement in graphs)  # they were made from the same integers


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


def _silence():
    return np.zeros((20, 24), np.int8)
