"""Every alignment of a tiny transducer, one by one."""

import itertools
from collections import defaultdict

import numpy as np
from scipy.special import log_softmax, logsumexp


def sequence_log_probs(transducer, encoder_symbols, max_symbols):
    """Log-probability of every token sequence of a ``TableTransducer``, summed over alignments.

    An alignment is what each frame emits before its blank: a tuple of at most ``max_symbols``
    labels a frame. Returns ``{sequence: (log_prob, frames of its likeliest alignment)}``.
    """
    table = log_softmax(np.asarray(transducer.logits, np.float64), axis=-1)
    _, Y, V = table.shape
    emissions = [
        labels
        for n in range(max_symbols + 1)
        for labels in itertools.product(range(1, V), repeat=n)
    ]
    paths = defaultdict(list)
    for alignment in itertools.product(emissions, repeat=len(encoder_symbols)):
        log_prob, history, frames = 0.0, 0, []
        for t, (x, labels) in enumerate(zip(encoder_symbols, alignment, strict=True)):
            for label in labels:
                log_prob += table[x, history, label]
                history = (history * V + label) % Y
                frames.append(t)
            log_prob += table[x, history, 0]
        paths[tuple(itertools.chain(*alignment))].append((log_prob, frames))
    return {
        sequence: (logsumexp([p for p, _ in found]), max(found)[1])
        for sequence, found in paths.items()
    }
