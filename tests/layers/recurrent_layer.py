"""What every recurrent layer is checked for, given as a function of its policy.

``make(policy)`` is the layer, ``make(policy, True)`` the same with rematerialization.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.qtensor import dequantize
from tests.layers.streaming_contract import check_streaming_contract, random_ragged

BATCH, FRAMES, WIDTH, HIDDEN = 4, 6, 5, 8
Make = Callable[..., nn.Module]


def ragged():
    return random_ragged(jax.random.key(0), BATCH, FRAMES, WIDTH)


def calibrated(make: Make, policy):
    """Parameters of a layer that is not almost linear, and the ranges that its policy needs."""
    params = jax.tree.map(lambda p: 2 * p, make(FLOAT32).init(jax.random.key(1), *ragged()))
    _, ranges = make(policy.calibration()).apply(params, *ragged(), mutable=["quant_stats"])
    return {**params, **ranges}


def check_values_and_gradients(make: Make, rematerialize: bool, plain: Callable):
    """Compares with ``plain(params, xs, mask) -> (ys, *state)``, a recurrence frame by frame."""
    xs, mask = ragged()
    xs = jnp.nan_to_num(xs)
    params = calibrated(make, FLOAT32)["params"]

    def loss(run):
        def of(params, xs):
            ys, *state = run(params, xs)
            return jnp.sum(jnp.sin(ys)) + sum(jnp.sum(part**3) for part in state)

        return jax.jit(jax.value_and_grad(of, (0, 1)))(params, xs)

    def ours(params, xs):
        ys, _, state = make(FLOAT32, rematerialize).apply({"params": params}, xs, mask)
        return ys, *jax.tree.leaves(state)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5),
        loss(ours),
        loss(lambda params, xs: plain(params, xs, mask)),
    )


def check_streaming(make: Make, name: str):
    """The streaming contract under a policy: equal to the bit on a chip."""
    policy = policy_by_name(name)
    variables = calibrated(make, policy)
    ranges = {k: v for k, v in variables.items() if k != "params"}
    check_streaming_contract(
        lambda params, xs, mask, state: make(policy).apply(
            {"params": params, **ranges}, xs, mask, state
        ),
        make(policy).bind({}).initial_state(BATCH),
        variables.get("params", {}),
        *ragged(),
        chunks=(2,),
        atol=1e-6 if name == "float32" else 0,
    )


def check_near_floating_point(make: Make, name: str, close: float):
    """A chip carries integers, and is nearly what floating point is."""
    variables, policy = calibrated(make, policy_by_name(name)), policy_by_name(name)
    ys, _, state = jax.jit(make(policy).apply)(variables, *ragged())
    expected, *_ = make(FLOAT32).apply({"params": variables.get("params", {})}, *ragged())
    for carried in jax.tree.leaves(state):
        assert np.array_equal(carried, np.round(carried))
    error = np.abs(dequantize(ys) - expected).max()
    assert 0 < error < close
