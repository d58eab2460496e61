"""CTC in float64 by the forward-backward sums of Graves et al. (2006), equations 6-16."""

import numpy as np

BLANK = 0


def ctc_float64(logits, labels):
    """Negative log-likelihood of one row and its gradient in the logits, ``[T, V]``."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    probs = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    extended = [BLANK]
    for label in labels:
        extended += [int(label), BLANK]
    frames, states = len(logits), len(extended)
    # A state is entered from itself, its neighbour, or across a blank between different labels.
    entered_from = [
        [s, *([s - 1] if s else []), *([s - 2] if s > 1 and _skips(extended, s) else [])]
        for s in range(states)
    ]
    alpha, beta = np.zeros((frames, states)), np.zeros((frames, states))
    alpha[0, : min(2, states)] = probs[0, extended[:2]]
    for t in range(1, frames):
        for s in range(states):
            alpha[t, s] = probs[t, extended[s]] * alpha[t - 1, entered_from[s]].sum()
    beta[-1, -min(2, states) :] = 1.0
    for t in range(frames - 2, -1, -1):
        for s in range(states):
            for before in entered_from[s]:
                beta[t, before] += probs[t + 1, extended[s]] * beta[t + 1, s]
    likelihood = (alpha[-1] * beta[-1]).sum()
    occupancy = np.zeros_like(probs)
    for s, label in enumerate(extended):
        occupancy[:, label] += alpha[:, s] * beta[:, s] / likelihood
    return -np.log(likelihood), probs - occupancy


def _skips(extended, s):
    return extended[s] != BLANK and extended[s] != extended[s - 2]
