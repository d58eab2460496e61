"""Transducers small enough to reason about: lookup tables, and a random recurrent network.

Both are stateful on both sides, so a decoder that mishandles a state gets other tokens; both are
pytrees, so one compiled search serves many of them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.typing import BLANK_ID


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TableTransducer:
    """``logits[x, y]`` for encoder symbol x and prediction symbol y.

    The encoder is an automaton: its symbol is ``(multiplier * previous + input) % X`` over frames
    whose single feature is an integer; one frame in ``time_reduction`` is given out. The prediction
    symbol is ``(previous * V + label) % Y``: all the history while ``Y > V ** U``, else a Markov
    model of the last labels.
    """

    logits: jax.Array  # [X, Y, V]
    time_reduction: int = dataclasses.field(default=1, metadata={"static": True})
    multiplier: int = dataclasses.field(default=3, metadata={"static": True})

    def initial_encoder_state(self, batch_size):
        return jnp.zeros((batch_size,), jnp.int32)

    def initial_prediction_state(self, batch_size):
        return jnp.zeros((batch_size,), jnp.int32)

    def encode(self, features, mask, state):
        assert features.shape[1] % self.time_reduction == 0

        def step(state, x):
            value, valid = x
            new = (self.multiplier * state + value) % self.logits.shape[0]
            state = jnp.where(valid, new, state)
            return state, state

        inputs = (features[..., 0].astype(jnp.int32).T, mask.T)
        state, symbols = jax.lax.scan(step, state, inputs)
        r = self.time_reduction
        return symbols.T[:, r - 1 :: r, None], mask[:, ::r], state

    def predict(self, label, state):
        _, Y, V = self.logits.shape
        state = (state * V + label) % Y
        return state[:, None], state

    def joint(self, encoded, predicted):
        return self.logits[encoded[..., 0], predicted[..., 0]]


@dataclasses.dataclass(frozen=True)
class SymbolFrontend:
    """A frontend for tables: samples are symbols, and each is a frame."""

    frame_ms: float = 10.0
    samples_per_frame: int = 1

    @property
    def config(self):
        return self

    def initial_state(self, batch_size):
        return jnp.zeros((batch_size,))

    def __call__(self, audio, lengths, state):
        return audio[..., None], jnp.arange(audio.shape[1]) < lengths[:, None], state


def random_table(seed, encoder_symbols, prediction_symbols, vocabulary, *, blank_bias=0.0, **kw):
    """A ``TableTransducer`` of Gaussian logits; ``blank_bias`` makes blanks likelier."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (encoder_symbols, prediction_symbols, vocabulary))
    logits[..., BLANK_ID] += blank_bias
    return TableTransducer(jnp.asarray(logits, jnp.float32), **kw)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ToyRecurrentTransducer:
    """Elman networks on both sides and an additive tanh joint, from a dict of random weights."""

    params: dict
    time_reduction: int = dataclasses.field(default=1, metadata={"static": True})

    @classmethod
    def random(cls, seed, feature_size, width, vocabulary, *, blank_bias=0.0, time_reduction=1):
        rng = np.random.default_rng(seed)

        def matrix(rows, columns, gain=1.0):
            return jnp.asarray(rng.normal(0, gain / np.sqrt(rows), (rows, columns)), jnp.float32)

        bias = np.zeros(vocabulary, np.float32)
        bias[BLANK_ID] = blank_bias
        params = {
            "encoder_input": matrix(feature_size * time_reduction, width, 2.0),
            "encoder_recurrent": matrix(width, width, 0.7),
            "embedding": matrix(vocabulary, width, 1.5),
            "prediction_recurrent": matrix(width, width, 0.5),
            "output": matrix(width, vocabulary, 4.0),
            "output_bias": jnp.asarray(bias),
        }
        return cls(params, time_reduction)

    def initial_encoder_state(self, batch_size):
        return jnp.zeros((batch_size, self.params["output"].shape[0]), jnp.float32)

    initial_prediction_state = initial_encoder_state

    def encode(self, features, mask, state):
        B, T, F = features.shape
        r = self.time_reduction
        mask = mask[:, ::r]
        stacked = features.reshape(B, T // r, F * r)

        def step(h, x):
            frame, valid = x
            new = jnp.tanh(
                frame @ self.params["encoder_input"] + h @ self.params["encoder_recurrent"]
            )
            h = jnp.where(valid[:, None], new, h)
            return h, h

        state, frames = jax.lax.scan(step, state, (jnp.moveaxis(stacked, 1, 0), mask.T))
        return jnp.moveaxis(frames, 0, 1), mask, state

    def predict(self, label, state):
        heard = self.params["embedding"][label] + state @ self.params["prediction_recurrent"]
        state = jnp.tanh(heard)
        return state, state

    def joint(self, encoded, predicted):
        return jnp.tanh(encoded + predicted) @ self.params["output"] + self.params["output_bias"]
