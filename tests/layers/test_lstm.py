import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.quant.policies import FLOAT32, W4A8, W8A8, policy_by_name
from rnnt_qat.quant.qtensor import QTensor, dequantize
from tests.layers.streaming_contract import check_streaming_contract, random_ragged
from tests.reference.lstm import lstm_float64

BATCH, FRAMES, WIDTH, HIDDEN = 4, 12, 6, 8


@pytest.fixture(scope="module")
def ragged():
    return random_ragged(jax.random.key(0), BATCH, FRAMES, WIDTH)


def calibrated(policy, ragged):
    """Variables of a layer: parameters, and ranges if the policy needs them."""
    params = LSTM(FLOAT32, HIDDEN).init(jax.random.key(1), *ragged)
    _, ranges = LSTM(policy.calibration(), HIDDEN).apply(params, *ragged, mutable=["quant_stats"])
    return {**params, **ranges}


def test_float_layer_equals_a_float64_reference(ragged):
    xs, mask = ragged
    variables = LSTM(FLOAT32, HIDDEN).init(jax.random.key(1), xs, mask)
    ys, _, state = jax.jit(LSTM(FLOAT32, HIDDEN).apply)(variables, xs, mask)
    hiddens, hidden, cell = lstm_float64(variables["params"], xs, mask)
    np.testing.assert_allclose(ys, hiddens, atol=2e-6)
    np.testing.assert_allclose(state.hidden, hidden, atol=2e-6)
    np.testing.assert_allclose(state.cell, cell, atol=2e-6)


@pytest.mark.parametrize(
    "policy",
    [FLOAT32, pytest.param(W8A8, marks=pytest.mark.exhaustive), W4A8],
    ids=lambda p: p.name,
)
def test_streaming_contract(policy, ragged):
    layer = LSTM(policy, HIDDEN)
    variables = calibrated(policy, ragged)
    ranges = {k: v for k, v in variables.items() if k != "params"}
    check_streaming_contract(
        lambda params, xs, mask, state: layer.apply({"params": params, **ranges}, xs, mask, state),
        layer.bind({}).initial_state(BATCH),
        variables["params"],
        *ragged,
        chunks=(1, 3, 4),
        atol=1e-6,  # the gates are floating point under these policies; the hidden state is not
    )


def test_custom_gradient_equals_the_scan_differentiated_by_jax(ragged):
    """The hand-placed weight product changes the speed and nothing else."""
    xs, mask = ragged
    xs = jnp.nan_to_num(xs)
    variables = LSTM(FLOAT32, HIDDEN).init(jax.random.key(1), xs, mask)

    def plain(params, xs):
        hidden = cell = jnp.zeros((BATCH, HIDDEN))
        ys = []
        for t in range(FRAMES):
            pre = xs[:, t] @ params["input_kernel"] + params["bias"]
            i, f, g, o = jnp.split(pre + hidden @ params["recurrent_kernel"], 4, axis=-1)
            new_cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            new_hidden = jax.nn.sigmoid(o) * jnp.tanh(new_cell)
            valid = mask[:, t, None]
            hidden, cell = jnp.where(valid, new_hidden, hidden), jnp.where(valid, new_cell, cell)
            ys.append(hidden)
        return jnp.sum(jnp.sin(jnp.stack(ys, 1))) + jnp.sum(cell**2)

    def ours(params, xs):
        ys, _, state = LSTM(FLOAT32, HIDDEN).apply({"params": params}, xs, mask)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(state.cell**2)

    expected = jax.grad(plain, (0, 1))(variables["params"], xs)
    actual = jax.jit(jax.grad(ours, (0, 1)))(variables["params"], xs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), actual, expected)


@pytest.mark.parametrize("name", ["float32", "ethos_u_8x8_16"])
def test_rematerialized_cells_have_the_same_gradients_and_emulated_ones_keep_less(name, ragged):
    xs, mask = ragged
    policy = policy_by_name(name)
    variables = calibrated(policy, ragged)
    ranges = {k: v for k, v in variables.items() if k != "params"}

    def gradients(rematerialize):
        layer = LSTM(policy, HIDDEN, rematerialize)

        def loss(params, xs):
            ys, _, state = layer.apply({"params": params, **ranges}, xs, mask)
            return jnp.sum(jnp.sin(dequantize(ys))) + jnp.sum(state.cell**2)

        kept = jax.eval_shape(lambda *a: jax.vjp(loss, *a)[1], variables["params"], xs)
        size = sum(leaf.size for leaf in jax.tree.leaves(kept))
        # Operator by operator, because compilers fuse and round the two programs differently.
        with jax.disable_jit(name == "float32"):
            return jax.jit(jax.grad(loss, (0, 1)))(variables["params"], xs), size

    kept, size_kept = gradients(False)
    again, size_again = gradients(True)
    jax.tree.map(np.testing.assert_array_equal, kept, again)
    if name != "float32":  # where the gates and states are all that is kept
        assert size_again < size_kept


def test_float_cells_keep_their_gates_and_states_alone(ragged):
    """Of each frame: four gates, the cell before, its successor's tanh and the hidden state."""
    xs, mask = ragged
    variables = LSTM(FLOAT32, HIDDEN).init(jax.random.key(1), xs, mask)
    _, vjp = jax.vjp(lambda v: LSTM(FLOAT32, HIDDEN).apply(v, xs, mask)[0], variables)
    kept = [leaf.shape for leaf in jax.tree.leaves(vjp) if leaf.shape[:2] == (FRAMES, BATCH)]
    assert [shape for shape in kept if shape[2:] not in ((), (WIDTH,))] == [
        (FRAMES, BATCH, HIDDEN)
    ] * 7


def test_backward_loop_writes_each_gradient_once(ragged):
    """In floating point the accumulator's gradient is that of the gates' inputs."""
    xs, mask = ragged
    variables = LSTM(FLOAT32, HIDDEN).init(jax.random.key(1), xs, mask)

    def loss(params):
        return LSTM(FLOAT32, HIDDEN).apply({"params": params}, xs, mask)[0].sum()

    jaxpr = jax.make_jaxpr(jax.grad(loss))(variables["params"]).jaxpr
    scans = [equation for equation in jaxpr.eqns if equation.primitive.name == "scan"]
    written = [v.aval.shape for v in scans[-1].outvars]
    assert written.count((FRAMES, BATCH, 4 * HIDDEN)) == 1


def test_weight_gradient_is_one_product_after_the_scan(ragged):
    """The compiled backward loop holds no product whose result is a kernel's gradient."""
    xs, mask = ragged
    variables = LSTM(FLOAT32, HIDDEN).init(jax.random.key(1), xs, mask)

    def loss(params):
        return LSTM(FLOAT32, HIDDEN).apply({"params": params}, xs, mask)[0].sum()

    def products(jaxpr, inside_scan):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                yield inside_scan, equation.outvars[0].aval.shape
            for sub in jaxprs_in_params(equation.params):
                yield from products(sub, inside_scan or equation.primitive.name == "scan")

    kernel = {(HIDDEN, 4 * HIDDEN), (4 * HIDDEN, HIDDEN)}
    found = list(products(jax.make_jaxpr(jax.grad(loss))(variables["params"]).jaxpr, False))
    assert any(shape in kernel for inside, shape in found if not inside)
    assert not any(shape in kernel for inside, shape in found if inside)


def test_w8a8_keeps_its_hidden_state_as_integers(ragged):
    variables = calibrated(W8A8, ragged)
    ys, _, state = LSTM(W8A8, HIDDEN).apply(variables, *ragged)
    assert isinstance(ys, QTensor)
    for values in (ys.values, state.hidden):
        assert np.array_equal(values, np.round(values))
        assert np.abs(values).max() <= 127
    float_ys, _, _ = LSTM(FLOAT32, HIDDEN).apply(variables, *ragged)
    assert np.abs(dequantize(ys) - float_ys).max() < 0.02


def test_calibration_ignores_the_padding(ragged):
    xs, mask = ragged
    loud = jnp.where(mask[..., None], xs, 1e6)
    ranges = calibrated(W8A8, (loud, mask))["quant_stats"]
    assert ranges["input"] == jnp.max(jnp.abs(jnp.nan_to_num(xs)))
    assert 0 < ranges["hidden"] < 1
