"""The player equals LiteRT's reference kernels and TFLM in every bit, each under its arithmetic."""

import dataclasses

import numpy as np
import pytest

from rnnt_qat.artefact.fused_lstm_units import LstmActivation, lstm_sigmoid, lstm_tanh
from rnnt_qat.artefact.layer_integers import LstmIntegers
from rnnt_qat.artefact.layer_player import initial_lstm_state, play_lstm
from rnnt_qat.artefact.runtime_arithmetic import LITERT, TFLM
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.lstm_graphs import fused_lstm, lstm_step_16x8
from rnnt_qat.verify.runtimes import LiteRt, Tflm
from tests.export.random_integers import random_lstm

RUNTIMES = pytest.mark.parametrize(
    ("runtime", "arithmetic"), [(LiteRt, LITERT), (Tflm, TFLM)], ids=["litert", "tflm"]
)


@RUNTIMES
@pytest.mark.parametrize("gain", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("inputs", "hidden"), [(80, 128), (33, 20)])
@pytest.mark.parametrize("power_of_two", [True, False])
def test_fused_lstm_over_200_carried_steps(runtime, arithmetic, gain, inputs, hidden, power_of_two):
    rng = np.random.default_rng(inputs)
    layer = random_lstm(rng, inputs, hidden, wide=False, power_of_two=power_of_two, gain=gain)
    graph, state = runtime(fused_lstm(layer)), initial_lstm_state(layer)
    for _ in range(200):
        x = rng.integers(-128, 128, (1, 1, inputs)).astype(np.int8)
        ours, state = play_lstm(layer, x[0], state, arithmetic)
        np.testing.assert_array_equal(ours, graph.run(x)[0][0])
        if runtime is LiteRt:
            np.testing.assert_array_equal(state.cell, graph.tensor("lstm/cell")[0])


@RUNTIMES
@pytest.mark.parametrize("gain", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("scales", ["power_of_two", "per_gate", "per_unit"])
def test_16x8_lstm_over_200_carried_steps(runtime, arithmetic, gain, scales):
    rng = np.random.default_rng(7)
    layer = random_lstm(
        rng,
        40,
        64,
        wide=True,
        gain=gain,
        power_of_two=scales == "power_of_two",
        per_unit=scales == "per_unit",
    )
    graph, state = runtime(lstm_step_16x8(layer)), initial_lstm_state(layer)
    for _ in range(200):
        x = rng.integers(-32768, 32768, (1, 40)).astype(np.int16)
        hidden, cell = graph.run(x, state.hidden[None], state.cell[None])
        _, state = play_lstm(layer, x, state, arithmetic)
        np.testing.assert_array_equal(state.hidden, hidden[0])
        np.testing.assert_array_equal(state.cell, cell[0])


@pytest.mark.parametrize("field", ["lstm_activation", "lstm_saturates_each_product"])
def test_loud_inputs_tell_tflm_from_litert(field):
    rng = np.random.default_rng(11)
    layer = random_lstm(rng, 80, 128, wide=False, gain=3.0)
    xs = rng.integers(-128, 128, (300, 80)).astype(np.int8)
    (theirs,) = Tflm(fused_lstm(layer, steps=300)).run(xs[None])
    start = initial_lstm_state(layer)
    np.testing.assert_array_equal(play_lstm(layer, xs, start, TFLM)[0], theirs[0])
    other = dataclasses.replace(TFLM, **{field: getattr(LITERT, field)})
    assert not np.array_equal(play_lstm(layer, xs, start, other)[0], theirs[0])


def test_a_product_just_below_a_tie_tells_tflm_from_litert():
    # i g = 2^14 - 1 (mod 2^15): two roundings go up, one goes down. Small cells at a hidden scale
    # of one cell step make the difference visible in the int8 output.
    pre = np.arange(-32768, 32768).astype(np.int16)
    i = lstm_sigmoid(pre, LstmActivation.TABLE).astype(np.int64)
    g = lstm_tanh(pre, 2.0**-12, LstmActivation.TABLE).astype(np.int64)
    values, first = np.unique(i, return_index=True)
    small = first[(values > 0) & (values < 100)]
    which, other = np.nonzero(i[small][:, None] * g % 32768 == 16383)
    units = min(len(which), 64)
    bias = np.zeros((4, units), np.int32)
    bias[0], bias[2], bias[3] = pre[small[which[:units]]], pre[other[:units]], 32767
    layer = LstmIntegers(
        w_ih=np.zeros((4, units, 1), np.int8),
        w_hh=np.zeros((4, units, units), np.int8),
        bias=bias,
        input=TensorFormat(np.int8, 2.0**-6),
        hidden=TensorFormat(np.int8, 2.0**-15),
        cell=TensorFormat(np.int16, 2.0**-15),
        w_ih_scale=np.full(4, 2.0**-6, np.float32),
        w_hh_scale=np.full(4, 2.0**-6, np.float32),
    )
    silence = np.zeros((1, 1), np.int8)
    (theirs,) = Tflm(fused_lstm(layer)).run(silence[None])
    start = initial_lstm_state(layer)
    np.testing.assert_array_equal(play_lstm(layer, silence, start, TFLM)[0], theirs[0])
    once = dataclasses.replace(TFLM, lstm_rounds_cell_twice=False)
    assert not np.array_equal(play_lstm(layer, silence, start, once)[0], theirs[0])
