import jax
import jax.numpy as jnp
import pytest

from rnnt_qat.layers.projected_lstm import ProjectedLSTM
from tests.layers.recurrent_layer import (
    BATCH,
    FRAMES,
    HIDDEN,
    check_near_floating_point,
    check_streaming,
    check_values_and_gradients,
)

PROJECTION = 3


def make(policy, rematerialize=False):
    return ProjectedLSTM(policy, HIDDEN, PROJECTION, rematerialize)


def plain(params, xs, mask):
    """The recurrence of Sak et al. (2014) frame by frame; outputs, last output and cell."""
    projected = jnp.zeros((BATCH, PROJECTION))
    cell = jnp.zeros((BATCH, HIDDEN))
    ys = []
    for t in range(FRAMES):
        pre = xs[:, t] @ params["input_kernel"] + params["bias"]
        i, f, g, o = jnp.split(pre + projected @ params["recurrent_kernel"], 4, axis=-1)
        new_cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        output = (jax.nn.sigmoid(o) * jnp.tanh(new_cell)) @ params["projection_kernel"]
        valid = mask[:, t, None]
        projected = jnp.where(valid, output, projected)
        cell = jnp.where(valid, new_cell, cell)
        ys.append(projected)
    return jnp.stack(ys, 1), projected, cell


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
