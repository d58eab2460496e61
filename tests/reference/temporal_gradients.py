"""Gradients of an LSTM in NumPy float64 whose paths through time are cut, one row at a time."""

import numpy as np


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _frames(params, xs):
    """Gates, states before and after every frame of one row ``[T, D]``."""
    w_x, w_h, bias = (params[n] for n in ("input_kernel", "recurrent_kernel", "bias"))
    hidden, cell = np.zeros(len(w_h)), np.zeros(len(w_h))
    for x in xs:
        i, f, g, o = (x @ w_x + hidden @ w_h + bias).reshape(4, -1)
        i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
        new_cell = f * cell + i * g
        yield (i, f, g, o), hidden, cell, new_cell
        hidden, cell = o * np.tanh(new_cell), new_cell


def _float64(params):
    return {name: np.asarray(p, np.float64) for name, p in params.items()}


def backward(params, xs, d_hiddens, carries_hidden, carries_cell):
    """Gradients of ``sum(hiddens * d_hiddens)`` of one row, frame by frame from the last.

    ``carries_hidden(t)`` and ``carries_cell(t)`` say whether frame ``t`` hands its gradient to the
    states before it. Returns those of the parameters and of the frames.
    """
    params, xs = _float64(params), np.asarray(xs, np.float64)
    frames = list(_frames(params, xs))
    sums, d_xs = {name: np.zeros_like(p) for name, p in params.items()}, np.zeros_like(xs)
    d_hidden = d_cell = np.zeros(len(params["recurrent_kernel"]))
    for t in reversed(range(len(xs))):
        (i, f, g, o), hidden, cell, new_cell = frames[t]
        d_hidden = d_hidden + d_hiddens[t]
        d_cell = d_cell + d_hidden * o * (1 - np.tanh(new_cell) ** 2)
        gates = [
            d_cell * g * i * (1 - i),
            d_cell * cell * f * (1 - f),
            d_cell * i * (1 - g**2),
            d_hidden * np.tanh(new_cell) * o * (1 - o),
        ]
        d_pre = np.concatenate(gates)
        sums["input_kernel"] += np.outer(xs[t], d_pre)
        sums["recurrent_kernel"] += np.outer(hidden, d_pre)
        sums["bias"] += d_pre
        d_xs[t] = params["input_kernel"] @ d_pre
        d_hidden = (params["recurrent_kernel"] @ d_pre) * carries_hidden(t)
        d_cell = d_cell * f * carries_cell(t)
    return sums, d_xs


def eligibility(params, xs, d_hiddens):
    """Gradients of the parameters of one row from traces that run forwards in time.

    The trace of a parameter is the derivative of the cell by it, with the hidden states that the
    recurrent kernel reads held constant: ``trace = f * trace + d_cell/d_parameter``. No frame's
    gates outlive the frame.
    """
    params, xs = _float64(params), np.asarray(xs, np.float64)
    width = len(params["recurrent_kernel"])
    sources = xs.shape[1] + width + 1  # what one gate of one unit reads: frame, hidden, bias
    traces, sums = np.zeros((sources, 3, width)), np.zeros((sources, 4, width))
    for t, ((i, f, g, o), hidden, cell, new_cell) in enumerate(_frames(params, xs)):
        read = np.concatenate([xs[t], hidden, [1.0]])[:, None, None]
        local = np.stack([g * i * (1 - i), cell * f * (1 - f), i * (1 - g**2)])
        traces = f * traces + read * local
        by_cell = d_hiddens[t] * o * (1 - np.tanh(new_cell) ** 2)
        sums[:, :3] += by_cell * traces
        sums[:, 3] += read[:, 0] * (d_hiddens[t] * np.tanh(new_cell) * o * (1 - o))
    flat = sums.reshape(sources, 4 * width)
    names = ("input_kernel", "recurrent_kernel")
    return {**dict(zip(names, np.split(flat[:-1], [xs.shape[1]]), strict=True)), "bias": flat[-1]}
