"""Runs a search over features in chunks, one compiled step for each shape."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.jit, static_argnums=0)
def _chunk(search, transducer, features, mask, states):
    encoder_state, search_state = states
    encoded, mask, encoder_state = transducer.encode(features, mask, encoder_state)
    return encoder_state, search.step(transducer, encoded, mask, search_state)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _start(search, transducer, batch_size):
    return (
        transducer.initial_encoder_state(batch_size),
        search.initial_state(transducer, batch_size),
    )


def run_search(transducer, features, lengths, config, chunk=None):
    """Search state and hypothesis, on the host, after chunks of ``chunk`` feature frames each."""
    search = config.build()
    B, T, _ = features.shape
    states = _start(search, transducer, B)
    for start in range(0, T, chunk or T):
        part = features[:, start : start + (chunk or T)]
        mask = start + jnp.arange(part.shape[1]) < jnp.asarray(lengths)[:, None]
        states = _chunk(search, transducer, part, mask, states)
    return jax.tree.map(np.asarray, (states[1], search.hypothesis(states[1])))


def assert_same_hypotheses(got, want):
    """Tokens and times are equal; log-probabilities up to the order of sums."""
    for name in ("tokens", "length", "emission_frames", "overflow"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
    np.testing.assert_allclose(got.log_prob, want.log_prob, rtol=1e-4)
