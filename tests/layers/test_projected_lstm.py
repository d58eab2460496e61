import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.layers.projected_lstm import ProjectedLSTM
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.qtensor import dequantize
from tests.layers.streaming_contract import check_streaming_contract, random_ragged

BATCH, FRAMES, WIDTH, HIDDEN, PROJECTION = 4, 6, 5, 8, 3
CHIPS = ("generic_nna", "ethos_u_16x8")


@pytest.fixture(scope="module")
def ragged():
    return random_ragged(jax.random.key(0), BATCH, FRAMES, WIDTH)


def layer(policy, rematerialize=False):
    return ProjectedLSTM(policy, HIDDEN, PROJECTION, rematerialize)


def calibrated(policy, ragged):
    """Parameters of a layer that is not almost linear, and the ranges that its policy needs."""
    params = jax.tree.map(lambda p: 2 * p, layer(FLOAT32).init(jax.random.key(1), *ragged))
    _, ranges = layer(policy.calibration()).apply(params, *ragged, mutable=["quant_stats"])
    return {**params, **ranges}


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
def test_values_and_gradients_are_those_of_the_plain_recurrence(rematerialize, ragged):
    xs, mask = ragged
    xs = jnp.nan_to_num(xs)
    params = calibrated(FLOAT32, ragged)["params"]

    def loss(run):
        def of(params, xs):
            ys, projected, cell = run(params, xs)
            return jnp.sum(jnp.sin(ys)) + jnp.sum(projected**3) + jnp.sum(cell**2)

        return jax.jit(jax.value_and_grad(of, (0, 1)))(params, xs)

    def ours(params, xs):
        ys, _, state = layer(FLOAT32, rematerialize).apply({"params": params}, xs, mask)
        return ys, state.projected, state.cell

    expected = loss(lambda params, xs: plain(params, xs, mask))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5), loss(ours), expected
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float32", "generic_nna"])
def test_streaming_contract(name, ragged):
    policy = policy_by_name(name)
    variables = calibrated(policy, ragged)
    ranges = {k: v for k, v in variables.items() if k != "params"}
    check_streaming_contract(
        lambda params, xs, mask, state: layer(policy).apply(
            {"params": params, **ranges}, xs, mask, state
        ),
        layer(policy).bind({}).initial_state(BATCH),
        variables["params"],
        *ragged,
        chunks=(2,),
        atol=1e-6 if name == "float32" else 0,
    )


@pytest.mark.parametrize(("name", "close"), zip(CHIPS, (0.06, 0.03), strict=True))
def test_a_chip_computes_nearly_what_floating_point_does(name, close, ragged):
    variables = calibrated(policy_by_name(name), ragged)
    ys, _, state = jax.jit(layer(policy_by_name(name)).apply)(variables, *ragged)
    expected, *_ = layer(FLOAT32).apply({"params": variables["params"]}, *ragged)
    assert np.array_equal(state.projected, np.round(state.projected))
    error = np.abs(dequantize(ys) - expected).max()
    assert 0 < error < close
