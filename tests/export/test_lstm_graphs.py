"""The graphs run in LiteRT and TFLM, states included."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.lstm_graphs import LstmIntegers, fused_lstm, lstm_step_16x8
from rnnt_qat.export.tflite_graph import GraphBuilder
from rnnt_qat.verify.runtimes import LiteRt, Tflm
from tests.export.random_integers import random_lstm


def test_fused_lstm_in_litert_and_tflm_differs_by_at_most_one_step():
    rng = np.random.default_rng(0)
    model = fused_lstm(random_lstm(rng, 40, 32, wide=False))
    litert, tflm = LiteRt(model), Tflm(model)
    for _ in range(50):
        x = rng.integers(-128, 128, (1, 1, 40)).astype(np.int8)
        (ours,), (theirs,) = litert.run(x), tflm.run(x)
        assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_reset_returns_a_graph_to_its_first_answer():
    rng = np.random.default_rng(1)
    model = fused_lstm(random_lstm(rng, 40, 32, wide=False), steps=3)
    x = rng.integers(-128, 128, (1, 3, 40)).astype(np.int8)
    for runtime in (LiteRt(model), Tflm(model)):
        (first,), (second,) = runtime.run(x), runtime.run(x)
        assert not np.array_equal(first, second)
        runtime.reset()
        np.testing.assert_array_equal(runtime.run(x)[0], first)


def test_a_chunk_equals_its_frames():
    rng = np.random.default_rng(2)
    layer = random_lstm(rng, 40, 32, wide=False)
    whole, single = LiteRt(fused_lstm(layer, steps=8)), LiteRt(fused_lstm(layer))
    x = rng.integers(-128, 128, (1, 8, 40)).astype(np.int8)
    (chunk,) = whole.run(x)
    frames = [single.run(x[:, t : t + 1])[0] for t in range(8)]
    np.testing.assert_array_equal(chunk, np.concatenate(frames, axis=1))


def test_stacked_16x8_steps_run_with_their_states_outside():
    rng = np.random.default_rng(3)
    hidden = TensorFormat(np.int16, 2.0**-15)
    stack = [
        random_lstm(rng, 40, 32, wide=True),
        random_lstm(rng, 32, 32, wide=True, input_format=hidden, gain=16),
    ]
    runtime = LiteRt(lstm_step_16x8(stack))
    state = [np.zeros((1, 32), np.int16)] * 4
    for _ in range(3):
        state = list(runtime.run(rng.integers(-32768, 32768, (1, 40)).astype(np.int16), *state))
    assert all(s.dtype == np.int16 and s.any() for s in state)


def test_a_wrong_shape_is_named():
    rng = np.random.default_rng(4)
    layer = random_lstm(rng, 8, 4, wide=False)
    with pytest.raises(ValueError, match=r"LstmIntegers.bias is \(4, 5\)"):
        LstmIntegers(**{**vars(layer), "bias": np.zeros((4, 5), np.int32)})


def test_two_tensors_of_one_name_are_refused():
    graph = GraphBuilder("twice")
    graph.input("x", (1, 2), TensorFormat(np.int8, 1.0))
    with pytest.raises(ValueError, match="already has a tensor named 'x'"):
        graph.input("x", (1, 2), TensorFormat(np.int8, 1.0))


def test_the_file_names_its_inputs_and_outputs():
    layer = random_lstm(np.random.default_rng(5), 8, 4, wide=True)
    model = lstm_step_16x8(layer)
    assert model[4:8] == b"TFL3"
    signature = Interpreter(model_content=model).get_signature_list()["lstm_step_16x8"]
    assert signature["inputs"] == ["cell_0", "hidden_0", "x"]
    assert signature["outputs"] == ["lstm_0/0/cell", "lstm_0/0/hidden"]


def test_shapes_that_do_not_fit_are_refused():
    graph = GraphBuilder("wrong")
    narrow = TensorFormat(np.int8, 1.0)
    x = graph.input("x", (1, 6), narrow)
    weights = graph.constant("w", np.zeros((3, 5), np.int8), narrow)
    with pytest.raises(ValueError, match=r"'y': inputs \(1, 6\) do not fit weights \(3, 5\)"):
        graph.fully_connected(x, weights, None, narrow, "y")
    with pytest.raises(ValueError, match="split of"):
        graph.split(x, 4, 1, ["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="cannot be reshaped"):
        graph.reshape(x, (4,), "z")
    with pytest.raises(ValueError, match="is int8, its format int16"):
        graph.constant("c", np.zeros(3, np.int8), TensorFormat(np.int16, 1.0))
    with pytest.raises(ValueError, match="a scale is finite and above 0"):
        TensorFormat(np.int8, 0.0)
