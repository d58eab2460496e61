"""LSTM in NumPy float64, one frame and one row at a time."""

import numpy as np


def lstm_float64(params, xs, mask):
    """Hidden states ``[B, T, H]`` and the final hidden and cell state; gates i, f, g, o."""
    w_x, w_h, bias = (
        np.asarray(params[name], np.float64)
        for name in ("input_kernel", "recurrent_kernel", "bias")
    )
    xs, mask = np.asarray(xs, np.float64), np.asarray(mask)
    batch, frames, _ = xs.shape
    width = w_h.shape[0]
    hiddens = np.zeros((batch, frames, width))
    hidden, cell = np.zeros((batch, width)), np.zeros((batch, width))
    for b in range(batch):
        for t in range(frames):
            if mask[b, t]:
                pre = xs[b, t] @ w_x + hidden[b] @ w_h + bias
                i, f, g, o = pre.reshape(4, width)
                cell[b] = _sigmoid(f) * cell[b] + _sigmoid(i) * np.tanh(g)
                hidden[b] = _sigmoid(o) * np.tanh(cell[b])
            hiddens[b, t] = hidden[b]
    return hiddens, hidden, cell


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))
