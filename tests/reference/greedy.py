"""Greedy search as the textbook has it: Python loops, one row, one frame, one symbol at a time."""

import dataclasses

import jax
import numpy as np
from scipy.special import log_softmax

from rnnt_qat.typing import BLANK_ID


@dataclasses.dataclass
class ReferenceHypothesis:
    tokens: list
    emission_frames: list
    log_prob: float


class GreedyReference:
    """Greedy search with a ``Transducer``, an utterance at a time."""

    def __init__(self, transducer):
        self.transducer = transducer
        self.encode = jax.jit(transducer.encode)
        self.predict = jax.jit(transducer.predict)
        self.joint = jax.jit(transducer.joint)

    def __call__(self, features, length, max_symbols):
        """``features`` [T, F] of ``length`` valid frames; T a multiple of the time reduction."""
        mask = np.arange(features.shape[0])[None] < length
        encoded, encoded_mask, _ = self.encode(
            features[None], mask, self.transducer.initial_encoder_state(1)
        )
        encoded = np.asarray(encoded)
        blank = np.array([BLANK_ID], np.int32)
        predicted, state = self.predict(blank, self.transducer.initial_prediction_state(1))
        result = ReferenceHypothesis([], [], 0.0)
        for frame in range(int(np.asarray(encoded_mask).sum())):
            symbols = 0
            while True:
                logits = np.asarray(self.joint(encoded[:, frame], predicted))[0]
                label = BLANK_ID if symbols == max_symbols else int(np.argmax(logits))
                result.log_prob += log_softmax(logits.astype(np.float64))[label]
                if label == BLANK_ID:
                    break
                result.tokens.append(label)
                result.emission_frames.append(frame)
                predicted, state = self.predict(np.array([label], np.int32), state)
                symbols += 1
        return result
