import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.layers.temporal_gradient import TemporalGradient
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.qtensor import dequantize
from tests.layers.streaming_contract import check_streaming_contract, random_ragged
from tests.reference.temporal_gradients import backward, eligibility

BATCH, FRAMES, WIDTH, HIDDEN = 3, 12, 5, 4
CHOICES = (
    TemporalGradient("full"),
    TemporalGradient("truncated", 4),
    TemporalGradient("truncated", 1),
    TemporalGradient("online"),
    TemporalGradient("spatial"),
)
CARRIES = {
    "full": (lambda t: True, lambda t: True),
    "truncated4": (lambda t: t % 4 != 0, lambda t: t % 4 != 0),
    "truncated1": (lambda t: False, lambda t: False),
    "online": (lambda t: False, lambda t: True),
    "spatial": (lambda t: False, lambda t: False),
}
"""Whether a frame hands its gradient to the hidden and the cell state before it."""


def name(choice):
    return f"{choice.kind}{choice.window or ''}"


@pytest.fixture(scope="module")
def ragged():
    return random_ragged(jax.random.key(0), BATCH, FRAMES, WIDTH)


@pytest.fixture(scope="module")
def params(ragged):
    made = LSTM(FLOAT32, HIDDEN).init(jax.random.key(1), *ragged)["params"]
    return jax.tree.map(lambda p: 2 * p, made)  # paths through time count for more


def gradients(layer, params, xs, mask, cotangent, ranges=()):
    def loss(params, xs):
        ys, _, _ = layer.apply({"params": params, **dict(ranges)}, xs, mask)
        return jnp.sum(jnp.where(mask[..., None], dequantize(ys), 0) * cotangent)

    return jax.jit(jax.grad(loss, (0, 1)))(params, jnp.nan_to_num(xs))


@pytest.mark.parametrize("choice", CHOICES, ids=name)
@pytest.mark.parametrize("rematerialize", [False, True])
def test_gradient_equals_its_definition_in_float64(choice, rematerialize, ragged, params):
    xs, mask = ragged
    cotangent = np.random.default_rng(0).normal(size=(BATCH, FRAMES, HIDDEN))
    got, got_xs = gradients(
        LSTM(FLOAT32, HIDDEN, rematerialize, choice), params, xs, mask, cotangent
    )
    rows = [
        backward(params, xs[b, :n], cotangent[b], *CARRIES[name(choice)])
        for b, n in enumerate(np.asarray(mask).sum(1))
    ]
    for parameter in params:
        expected = sum(of_params[parameter] for of_params, _ in rows)
        np.testing.assert_allclose(got[parameter], expected, rtol=1e-4, atol=2e-5)
    for b, (_, d_xs) in enumerate(rows):
        np.testing.assert_allclose(got_xs[b, : len(d_xs)], d_xs, rtol=1e-4, atol=2e-5)
        assert not np.any(got_xs[b, len(d_xs) :])


def test_online_gradient_equals_eligibility_traces(ragged, params):
    """What a chip could accumulate frame by frame is what the backward scan returns."""
    xs, mask = ragged
    cotangent = np.random.default_rng(0).normal(size=(BATCH, FRAMES, HIDDEN))
    layer = LSTM(FLOAT32, HIDDEN, gradient=TemporalGradient("online"))
    got, _ = gradients(layer, params, xs, mask, cotangent)
    lengths = np.asarray(mask).sum(1)
    traced = [eligibility(params, xs[b, :n], cotangent[b]) for b, n in enumerate(lengths)]
    for parameter in params:
        expected = sum(row[parameter] for row in traced)
        np.testing.assert_allclose(got[parameter], expected, rtol=1e-4, atol=2e-5)


def test_choices_differ_and_share_their_outputs(ragged, params):
    xs, mask = ragged
    cotangent = np.random.default_rng(0).normal(size=(BATCH, FRAMES, HIDDEN))
    layers = [LSTM(FLOAT32, HIDDEN, gradient=choice) for choice in CHOICES]
    outputs = [layer.apply({"params": params}, xs, mask)[0] for layer in layers]
    kernels = [gradients(each, params, xs, mask, cotangent)[0]["input_kernel"] for each in layers]
    for output in outputs:
        np.testing.assert_array_equal(output, outputs[0])
    # Windows of one frame hold no path through time: the one pair that is equal.
    different = {i: [j for j in range(5) if np.allclose(kernels[i], kernels[j])] for i in range(5)}
    assert different == {0: [0], 1: [1], 2: [2, 4], 3: [3], 4: [2, 4]}


@pytest.mark.slow
@pytest.mark.parametrize("choice", [CHOICES[1], CHOICES[3]], ids=name)
def test_gradient_of_windows_is_that_of_the_utterance(choice, ragged, params):
    """Chunks with carried states, also where the carried state is differentiated."""
    layer = LSTM(FLOAT32, HIDDEN, gradient=choice)
    check_streaming_contract(
        lambda params, *args: layer.apply({"params": params}, *args),
        layer.bind({}).initial_state(BATCH),
        params,
        *ragged,
        chunks=(4,),
        atol=1e-6,
    )


@pytest.mark.slow
def test_a_chips_gradient_is_cut_as_well(ragged, params):
    """Windows of one frame and the spatial gradient are two ways to the same cut."""
    xs, mask = ragged
    policy = policy_by_name("generic_nna")
    calibrating = LSTM(policy.calibration(), HIDDEN)
    _, ranges = calibrating.apply({"params": params}, xs, mask, mutable=["quant_stats"])
    cotangent = np.random.default_rng(0).normal(size=(BATCH, FRAMES, HIDDEN))
    full, one, spatial = (
        gradients(
            LSTM(policy, HIDDEN, gradient=choice), params, xs, mask, cotangent, ranges.items()
        )[0]["recurrent_kernel"]
        for choice in (CHOICES[0], CHOICES[2], CHOICES[4])
    )
    np.testing.assert_allclose(one, spatial, rtol=1e-6)
    assert np.abs(full - spatial).max() > 0.1 * np.abs(full).max()


@pytest.mark.parametrize(
    ("kind", "window", "message"),
    [("truncated", 0, "needs window >= 1"), ("online", 5, "window=5 is for kind='truncated'")],
)
def test_a_window_belongs_to_truncation(kind, window, message):
    with pytest.raises(ValueError, match=message):
        TemporalGradient(kind, window)
