import jax
import jax.numpy as jnp
import pytest

from rnnt_qat.layers.gru import GRU
from tests.layers.recurrent_layer import (
    BATCH,
    FRAMES,
    HIDDEN,
    check_near_floating_point,
    check_streaming,
    check_values_and_gradients,
)


def make(policy, rematerialize=False):
    return GRU(policy, HIDDEN, rematerialize)


def plain(params, xs, mask):
    """Equations 5 to 8 of Cho et al. (2014), frame by frame, whose z keeps the memory."""
    hidden, ys = jnp.zeros((BATCH, HIDDEN)), []
    for t in range(FRAMES):
        r, z, n = jnp.split(xs[:, t] @ params["input_kernel"] + params["bias"], 3, axis=-1)
        r = jax.nn.sigmoid(r + hidden @ params["reset_kernel"])
        z = jax.nn.sigmoid(z + hidden @ params["update_kernel"])
        n = jnp.tanh(n + (r * hidden) @ params["candidate_kernel"])
        hidden = jnp.where(mask[:, t, None], z * hidden + (1 - z) * n, hidden)
        ys.append(hidden)
    return jnp.stack(ys, 1), hidden


@pytest.mark.parametrize("rematerialize", [False, True])
def test_values_and_gradients_are_those_of_the_plain_recurrence(rematerialize):
    check_values_and_gradients(make, rematerialize, plain)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float32", "generic_nna"])
def test_streaming_contract(name):
    check_streaming(make, name)


@pytest.mark.parametrize(("name", "close"), [("generic_nna", 0.06), ("ethos_u_16x8", 0.03)])
def test_a_chip_computes_nearly_what_floating_point_does(name, close):
    check_near_floating_point(make, name, close)
