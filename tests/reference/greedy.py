"""Greedy search as the textbook has it: Python loops, one row, one frame, one symbol at a time."""

import dataclasses

import numpy as np
from scipy.special import log_softmax

from rnnt_qat.typing import BLANK_ID


@dataclasses.dataclass
class ReferenceHypothesis:
    tokens: list
    emission_frames: list
    log_prob: float


def greedy_reference(transducer, features, length, max_symbols):
    """``features`` [T, F] of one utterance of ``length`` frames; T a multiple of the reduction."""
    mask = np.arange(features.shape[0])[None] < length
    encoded, encoded_mask, _ = transducer.encode(
        features[None], mask, transducer.initial_encoder_state(1)
    )
    blank = np.array([BLANK_ID], np.int32)
    predicted, state = transducer.predict(blank, transducer.initial_prediction_state(1))
    result = ReferenceHypothesis([], [], 0.0)
    for frame in range(int(np.asarray(encoded_mask).sum())):
        symbols = 0
        while True:
            logits = np.asarray(transducer.joint(encoded[:, frame], predicted))[0]
            label = BLANK_ID if symbols == max_symbols else int(np.argmax(logits))
            log_probs = log_softmax(logits.astype(np.float64) * transducer.logit_scale)
            result.log_prob += log_probs[label]
            if label == BLANK_ID:
                break
            result.tokens.append(label)
            result.emission_frames.append(frame)
            predicted, state = transducer.predict(np.array([label], np.int32), state)
            symbols += 1
    return result
