import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.layers.gru import GRU
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.qtensor import dequantize
from tests.layers.streaming_contract import check_streaming_contract, random_ragged

BATCH, FRAMES, WIDTH, HIDDEN = 4, 6, 5, 8
CHIPS = ("generic_nna", "ethos_u_16x8")


@pytest.fixture(scope="module")
def ragged():
    return random_ragged(jax.random.key(0), BATCH, FRAMES, WIDTH)


def calibrated(policy, ragged):
    """Parameters of a layer that is not almost linear, and the ranges that its policy needs."""
    params = jax.tree.map(lambda p: 2 * p, GRU(FLOAT32, HIDDEN).init(jax.random.key(1), *ragged))
    layer = GRU(policy.calibration(), HIDDEN)
    _, ranges = layer.apply(params, *ragged, mutable=["quant_stats"])
    return {**params, **ranges}


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
def test_values_and_gradients_are_those_of_the_plain_recurrence(rematerialize, ragged):
    xs, mask = ragged
    xs = jnp.nan_to_num(xs)
    params = calibrated(FLOAT32, ragged)["params"]

    def loss(run):
        def of(params, xs):
            ys, hidden = run(params, xs)
            return jnp.sum(jnp.sin(ys)) + jnp.sum(hidden**3)

        return jax.jit(jax.value_and_grad(of, (0, 1)))(params, xs)

    def ours(params, xs):
        ys, _, state = GRU(FLOAT32, HIDDEN, rematerialize).apply({"params": params}, xs, mask)
        return ys, state.memory

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
        lambda params, xs, mask, state: GRU(policy, HIDDEN).apply(
            {"params": params, **ranges}, xs, mask, state
        ),
        GRU(policy, HIDDEN).bind({}).initial_state(BATCH),
        variables["params"],
        *ragged,
        chunks=(2,),
        atol=1e-6 if name == "float32" else 0,
    )


@pytest.mark.parametrize(("name", "close"), zip(CHIPS, (0.06, 0.03), strict=True))
def test_a_chip_computes_nearly_what_floating_point_does(name, close, ragged):
    variables = calibrated(policy_by_name(name), ragged)
    ys, _, state = jax.jit(GRU(policy_by_name(name), HIDDEN).apply)(variables, *ragged)
    expected, *_ = GRU(FLOAT32, HIDDEN).apply({"params": variables["params"]}, *ragged)
    assert np.array_equal(state.memory, np.round(state.memory))
    error = np.abs(dequantize(ys) - expected).max()
    assert 0 < error < close
