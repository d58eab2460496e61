"""Transducer loss the slow and obvious ways, in float64: enumeration of alignments, and loops."""

from itertools import combinations
from typing import NamedTuple

import numpy as np

__all__ = [
    "Lattice",
    "enumerated_loss",
    "lattice",
    "log_softmax",
    "logits_gradient",
    "loss",
    "row_lattice",
]


class Lattice(NamedTuple):
    """One row's recursion: cells ``[T + 1, U + 1]``, arcs ``[T, U + 1]``."""

    log_prob: float
    alpha: np.ndarray
    beta: np.ndarray
    blank_posterior: np.ndarray
    label_posterior: np.ndarray


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def enumerated_loss(logits: np.ndarray, labels: np.ndarray, blank_id: int = 0) -> float:
    """One row ``[T, U + 1, V]``: every order of T blanks and U labels that ends in a blank."""
    T, U1, _ = logits.shape
    log_probs = log_softmax(logits)
    total = -np.inf
    for label_steps in combinations(range(T + U1 - 2), U1 - 1):
        t = u = 0
        path = 0.0
        for step in range(T + U1 - 1):
            if step in label_steps:
                path += log_probs[t, u, labels[u]]
                u += 1
            else:
                path += log_probs[t, u, blank_id]
                t += 1
        total = np.logaddexp(total, path)
    return -total


def lattice(blank: np.ndarray, label: np.ndarray) -> Lattice:
    """Recursion on one row's arc log-probabilities ``[T, U + 1]`` (label's last column unused)."""
    blank, label = np.asarray(blank, np.float64), np.asarray(label, np.float64)
    T, U1 = blank.shape
    alpha = np.full((T + 1, U1), -np.inf)
    beta = np.full((T + 1, U1), -np.inf)
    alpha[0, 0] = beta[T, U1 - 1] = 0.0
    for t in range(T + 1):
        for u in range(U1):
            if t > 0 and (t < T or u == U1 - 1):
                alpha[t, u] = np.logaddexp(alpha[t, u], alpha[t - 1, u] + blank[t - 1, u])
            if u > 0 and t < T:
                alpha[t, u] = np.logaddexp(alpha[t, u], alpha[t, u - 1] + label[t, u - 1])
    for t in reversed(range(T)):
        for u in reversed(range(U1)):
            beta[t, u] = blank[t, u] + beta[t + 1, u]
            if u + 1 < U1:
                beta[t, u] = np.logaddexp(beta[t, u], label[t, u] + beta[t, u + 1])
    log_prob = alpha[T, U1 - 1]
    blank_posterior = np.exp(alpha[:T] + blank + beta[1:] - log_prob)
    label_posterior = np.zeros_like(blank)
    label_posterior[:, :-1] = np.exp(alpha[:T, :-1] + label[:, :-1] + beta[:T, 1:] - log_prob)
    return Lattice(log_prob, alpha, beta, blank_posterior, label_posterior)


def row_lattice(logits: np.ndarray, labels: np.ndarray, blank_id: int = 0) -> Lattice:
    """Recursion on one row's logits ``[T, U + 1, V]``."""
    log_probs = log_softmax(logits)
    label = np.zeros(log_probs.shape[:2])
    for u, token in enumerate(labels):
        label[:, u] = log_probs[:, u, token]
    return lattice(log_probs[..., blank_id], label)


def loss(
    logits: np.ndarray,
    logit_lengths: np.ndarray,
    labels: np.ndarray,
    label_lengths: np.ndarray,
    blank_id: int = 0,
) -> np.ndarray:
    """Loss of every row of a padded batch; 0 for rows without frames."""
    rows = zip(logits, logit_lengths, labels, label_lengths, strict=True)
    return np.array(
        [
            -row_lattice(x[:T, : U + 1], y[:U], blank_id).log_prob if T else 0.0
            for x, T, y, U in rows
        ]
    )


def logits_gradient(
    logits: np.ndarray,
    logit_lengths: np.ndarray,
    labels: np.ndarray,
    label_lengths: np.ndarray,
    blank_id: int = 0,
    fastemit_lambda: float = 0.0,
) -> np.ndarray:
    """Gradient of the summed loss, arc by arc through the softmax; FastEmit as its paper states."""
    gradient = np.zeros(logits.shape, np.float64)
    for b, (T, U) in enumerate(zip(logit_lengths, label_lengths, strict=True)):
        if not T:
            continue
        row = row_lattice(logits[b, :T, : U + 1], labels[b, :U], blank_id)
        for t in range(T):
            for u in range(U + 1):
                by_log_prob = np.zeros(logits.shape[-1])
                by_log_prob[blank_id] -= row.blank_posterior[t, u]
                if u < U:
                    by_log_prob[labels[b, u]] -= (1 + fastemit_lambda) * row.label_posterior[t, u]
                softmax = np.exp(log_softmax(logits[b, t, u]))
                gradient[b, t, u] = by_log_prob - softmax * by_log_prob.sum()
    return gradient
