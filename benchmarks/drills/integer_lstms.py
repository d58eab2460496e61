"""Graphs of one LSTM, fused and operator by operator: each runtime and the player."""

import numpy as np

from benchmarks.drills.integer_comparison import RUNTIMES, require_same
from benchmarks.drills.integer_draws import (
    Rng,
    bias_of,
    integers_of,
    power,
    require_legal,
    scale_of_bits,
    weights_of,
)
from rnnt_qat.artefact.layer_integers import LstmIntegers
from rnnt_qat.artefact.layer_player import LstmState, initial_lstm_state, play_lstm
from rnnt_qat.artefact.runtime_arithmetic import LITERT
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.lstm_graphs import fused_lstm, lstm_step_16x8
from rnnt_qat.verify.runtimes import LiteRt, Runtime


def lstm_8x8_16(rng: Rng) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM over three frames."""
    inputs, hidden = (int(n) for n in rng.integers(1, 6, 2))
    zero_points = [int(z) for z in rng.integers(-128, 128, 2)]
    input_format = TensorFormat(np.int8, scale_of_bits(rng, -12, 4), zero_points[0])
    state = TensorFormat(np.int8, scale_of_bits(rng, -10, -5), zero_points[1])
    layer = LstmIntegers(
        w_ih=weights_of(rng, (4, hidden, inputs)),
        w_hh=weights_of(rng, (4, hidden, hidden)),
        bias=bias_of(rng, (4, hidden), 32),
        input=input_format,
        hidden=state,
        cell=TensorFormat(np.int16, power(rng, -15, -9)),
        w_ih_scale=np.float32([scale_of_bits(rng, -30, 0) for _ in range(4)]),
        w_hh_scale=np.float32([scale_of_bits(rng, -30, 0) for _ in range(4)]),
    )
    require_legal(layer.check_limits, "lstm", LITERT.wide_accumulator_bits)
    xs = integers_of(rng, (3, inputs), np.int8)
    graph = fused_lstm(layer, steps=1)
    for load, arithmetic in RUNTIMES:
        runtime: Runtime = load(graph)
        runtime.reset()
        ours, final = play_lstm(layer, xs, initial_lstm_state(layer), arithmetic)
        theirs = np.concatenate([runtime.run(x[None, None])[0][0] for x in xs])
        require_same(f"hidden states of player and {load.__name__}", ours, theirs)
        if isinstance(runtime, LiteRt):
            require_same("cells of player and LiteRt", final.cell, runtime.tensor("lstm/cell")[0])


def lstm_16x8(rng: Rng) -> None:
    """A step of an LSTM operator by operator, from any state."""
    inputs, hidden = (int(n) for n in rng.integers(1, 6, 2))
    shape = (4, hidden) if rng.random() < 0.5 else (4,)
    scales = [
        np.reshape([scale_of_bits(rng, -36, 0) for _ in range(np.prod(shape))], shape)
        for _ in range(2)
    ]
    layer = LstmIntegers(
        w_ih=weights_of(rng, (4, hidden, inputs)),
        w_hh=weights_of(rng, (4, hidden, hidden)),
        bias=bias_of(rng, (4, hidden), 40),
        input=TensorFormat(np.int16, power(rng, -20, 4)),
        hidden=TensorFormat(np.int16, power(rng, -16, -13)),
        cell=TensorFormat(np.int16, power(rng, -12, -11)),
        w_ih_scale=scales[0].astype(np.float32),
        w_hh_scale=scales[1].astype(np.float32),
    )
    require_legal(layer.check_limits, "lstm", LITERT.wide_accumulator_bits)
    x, h, c = (integers_of(rng, (1, n), np.int16) for n in (inputs, hidden, hidden))
    graph = lstm_step_16x8(layer)
    for load, arithmetic in RUNTIMES:
        theirs = load(graph).run(x, h, c)
        _, ours = play_lstm(layer, x, LstmState(h[0], c[0]), arithmetic)
        for site in ("hidden", "cell"):
            at = ("hidden", "cell").index(site)
            require_same(
                f"{site} of player and {load.__name__}", getattr(ours, site), theirs[at][0]
            )
