"""Streaming decode over the exported graphs equals the player: tokens, frames, every integer."""

import dataclasses

import numpy as np
import pytest

from rnnt_qat.artefact.player import Player, greedy, quantize_features
from rnnt_qat.artefact.runtime_arithmetic import LITERT, TFLM
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.rnnt_graphs import Boundary, encoder_chunk, joint_step, prediction_step
from rnnt_qat.verify.replay import GraphRecognizer, first_difference
from rnnt_qat.verify.runtimes import LiteRt, Tflm, check_loads
from tests.export.random_integers import random_features, random_rnnt

CHIPS = pytest.mark.parametrize("wide", [False, True], ids=["ethos_u_8x8_16", "ethos_u_16x8"])


@CHIPS
@pytest.mark.parametrize("context", [1, 2])
@pytest.mark.parametrize("chunk_frames", [2, 8])
def test_litert_decodes_what_the_player_decodes(wide, context, chunk_frames):
    rng = np.random.default_rng(3)
    model = random_rnnt(rng, wide, context=context)
    graphs, player = GraphRecognizer(model), Player(model)
    for frames in (40, 37):
        features = random_features(rng, model, frames)
        ours = greedy(player, features, chunk_frames, max_symbols_per_frame=3)
        assert greedy(graphs, features, chunk_frames, max_symbols_per_frame=3) == ours
        assert ours.tokens
        theirs = graphs.states()
        assert theirs.keys() == player.states().keys()
        for name, state in player.states().items():
            np.testing.assert_array_equal(theirs[name], state, err_msg=name)
        assert first_difference(model, features, chunk_frames) is None


@CHIPS
@pytest.mark.parametrize("context", [1, 2])
def test_tflm_decodes_what_the_player_decodes_under_its_arithmetic(wide, context):
    rng = np.random.default_rng(4)
    model = dataclasses.replace(random_rnnt(rng, wide, context=context), arithmetic=TFLM)
    features = random_features(rng, model, 40)
    ours = greedy(Player(model), features, 8, max_symbols_per_frame=3)
    assert greedy(GraphRecognizer(model, Tflm), features, 8, max_symbols_per_frame=3) == ours
    assert ours.tokens


@CHIPS
def test_every_chunking_gives_the_same_integers(wide):
    rng = np.random.default_rng(5)
    model = random_rnnt(rng, wide)
    features = random_features(rng, model, 39)
    whole = Player(model).encode(features)
    for chunk in (2, 6, 38):
        player = Player(model)
        parts = [player.encode(features[start : start + chunk]) for start in range(0, 39, chunk)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_difference_is_told_by_operator_and_frame():
    rng = np.random.default_rng(6)
    model = random_rnnt(rng, wide=False)
    other = dataclasses.replace(model, arithmetic=TFLM)
    features = random_features(rng, model, 200)
    difference = first_difference(other, features, 4)
    assert difference is not None
    assert difference.tensor.split("/")[-1] in {"hiddens", "cell", "encoded", "predicted", "hidden"}
    assert difference.tensor in str(difference)


def test_a_runtime_that_hides_its_states_refuses_another_chunk_length():
    rng = np.random.default_rng(7)
    model = random_rnnt(rng, wide=False)
    recognizer = GraphRecognizer(model, Tflm)
    recognizer.encode(random_features(rng, model, 4))
    with pytest.raises(ValueError, match="changed its chunk length"):
        recognizer.encode(random_features(rng, model, 2))


def test_features_are_rounded_as_in_training():
    tensor_format = TensorFormat(np.int8, 2.0**-4)
    features = np.array([[0.03125, -0.03125, 0.09375, 100.0, -np.inf, np.nan]], np.float32)
    expected = [[1, -1, 2, 127, -128, 0]]
    np.testing.assert_array_equal(quantize_features(features, tensor_format), expected)


def test_features_in_another_format_are_refused():
    rng = np.random.default_rng(8)
    model = random_rnnt(rng, wide=False)
    with pytest.raises(ValueError, match=r"features are float64 \(3, 24\)"):
        Player(model).encode(rng.normal(size=(3, 24)))


def test_lookup_and_argmax_inside_the_graphs_change_nothing():
    rng = np.random.default_rng(9)
    model = random_rnnt(rng, wide=False)
    features = random_features(rng, model, 20)
    inside = Boundary(lookup_inside=True, argmax_inside=True)
    for load in (LiteRt, Tflm):
        model = dataclasses.replace(model, arithmetic=TFLM if load is Tflm else LITERT)
        ours = greedy(Player(model), features, 4, max_symbols_per_frame=3)
        assert greedy(GraphRecognizer(model, load, inside), features, 4, 3) == ours


def test_a_refused_graph_carries_the_runtimes_reason():
    model = random_rnnt(np.random.default_rng(10), wide=True)
    with pytest.raises(ValueError, match=r"LiteRT refuses the graph: .*ARG_MAX"):
        LiteRt(joint_step(model, Boundary(argmax_inside=True)))


@CHIPS
@pytest.mark.parametrize("frames", [22, 66])
def test_encoders_of_many_frames_load_in_every_runtime_and_equal_the_player(wide, frames):
    rng = np.random.default_rng(11)
    model = random_rnnt(rng, wide)
    graph = encoder_chunk(model, frames)
    check_loads({"encoder": graph})
    features = random_features(rng, model, frames)
    for load, arithmetic in ((LiteRt, LITERT), (Tflm, TFLM)):
        model = dataclasses.replace(model, arithmetic=arithmetic)
        found = GraphRecognizer(model, load).encode(features)
        np.testing.assert_array_equal(found, Player(model).encode(features))


def test_a_graph_that_a_runtime_refuses_is_named():
    model = random_rnnt(np.random.default_rng(12), wide=True)
    with pytest.raises(ValueError, match="the graph 'prediction': TFLM refuses the graph"):
        check_loads({"prediction": prediction_step(model, Boundary(lookup_inside=True))})
