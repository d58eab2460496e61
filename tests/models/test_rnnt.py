import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig, StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.quant.policies import FLOAT32, W8A8, policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.quant.quantized_module import QUANT_STATS, check_calibrated

CONFIG = RNNTConfig(
    vocabulary=9,
    encoder=EncoderConfig(
        num_layers=2, hidden_size=16, layers_before_reduction=1, time_reduction=2
    ),
    prediction=LSTMPredictionConfig(embedding_size=8, hidden_size=12),
    joint_size=10,
)
STATELESS = dataclasses.replace(
    CONFIG, prediction=StatelessPredictionConfig(embedding_size=8, context=3)
)
CHIPS = ["generic_nna", "ethos_u_8x8_16", "ethos_u_16x8"]
FRAMES, FEATURES = 24, 6


@functools.cache
def example_batch():
    key = jax.random.key(0)
    lengths = jnp.array([FRAMES, 13, 0])
    features = jax.random.normal(key, (3, FRAMES, FEATURES))
    features = jnp.where(jnp.arange(FRAMES)[:, None] < lengths[:, None, None], features, 0.0)
    labels = jax.random.randint(jax.random.key(1), (3, 7), 1, CONFIG.vocabulary)
    return features, lengths, labels, jnp.array([7, 3, 0])


@pytest.fixture(scope="module")
def batch():
    return example_batch()


@functools.cache
def variables_of(config, policy):
    """Random parameters, larger than at the start so that tokens come out, and ranges."""
    batch = example_batch()
    params = RNNT(config, FLOAT32).init(jax.random.key(2), *batch)["params"]
    params = jax.tree.map(lambda p: 2.0 * p, params)
    calibrating = RNNT(config, policy.calibration())
    _, ranges = calibrating.apply({"params": params}, *batch, mutable=[QUANT_STATS])
    check_calibrated(ranges)
    return {"params": params, **ranges}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("float32", CONFIG),
        ("w8a8", CONFIG),
        ("generic_nna", STATELESS),
        ("ethos_u_8x8_16", CONFIG),
        pytest.param("generic_nna", CONFIG, marks=pytest.mark.exhaustive),
        pytest.param("ethos_u_16x8", CONFIG, marks=pytest.mark.exhaustive),
    ],
)
def test_streaming_equals_offline(name, config, batch):
    """Encoder outputs, states and decoded tokens, for every chunk; bit for bit on a chip."""
    features, lengths, _, _ = batch
    policy = policy_by_name(name)
    transducer = BoundTransducer(variables_of(config, policy), RNNT(config, policy))
    search = GreedyConfig(max_symbols_per_frame=3, max_tokens=64).build()
    mask = jnp.arange(FRAMES) < lengths[:, None]

    def split(a, chunk):
        return a.reshape(a.shape[0], -1, chunk, *a.shape[2:]).swapaxes(0, 1)

    def decode(transducer, chunk):
        def step(carry, part):
            encoder_state, search_state = carry
            encoded, encoded_mask, encoder_state = transducer.encode(*part, encoder_state)
            search_state = search.step(transducer, encoded, encoded_mask, search_state)
            return (encoder_state, search_state), (encoded, encoded_mask)

        start = (transducer.initial_encoder_state(3), search.initial_state(transducer, 3))
        carry, outputs = jax.lax.scan(step, start, (split(features, chunk), split(mask, chunk)))
        encoded, encoded_mask = (a.swapaxes(0, 1).reshape(3, FRAMES // 2, -1) for a in outputs)
        return jnp.where(encoded_mask, encoded, 0), carry

    run = jax.jit(decode, static_argnums=1)
    whole_encoded, whole_carry = run(transducer, FRAMES)
    tokens = search.hypothesis(whole_carry[1]).tokens
    assert np.any(tokens != 0)
    exact = name in CHIPS
    for chunk in (2, 12):
        encoded, carry = run(transducer, chunk)
        np.testing.assert_allclose(encoded, whole_encoded, rtol=0, atol=0 if exact else 1e-4)
        np.testing.assert_array_equal(search.hypothesis(carry[1]).tokens, tokens)
        for got, expected in zip(
            jax.tree.leaves(carry[0]), jax.tree.leaves(whole_carry[0]), strict=True
        ):
            np.testing.assert_allclose(got, expected, rtol=0, atol=0 if exact else 1e-4)


@pytest.mark.parametrize("config", [CONFIG, STATELESS], ids=["lstm", "stateless"])
def test_prediction_step_by_step_equals_teacher_forcing(config, batch):
    features, lengths, labels, label_lengths = batch
    variables = variables_of(config, FLOAT32)
    model = RNNT(config, FLOAT32)
    lattice = model.apply(variables, features, lengths, labels, label_lengths)
    transducer = BoundTransducer(variables, model)
    state = transducer.initial_prediction_state(3)
    for u, label in enumerate([jnp.zeros(3, int), *labels.T]):
        predicted, state = transducer.predict(label, state)
        valid = u <= label_lengths
        np.testing.assert_allclose(predicted[valid], lattice.predicted[valid, u], atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "float32",
        "ethos_u_8x8_16",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("w8a8", "generic_nna", "ethos_u_16x8")
        ),
    ],
)
def test_every_parameter_learns_under_every_policy(name, batch):
    policy = policy_by_name(name)
    variables = variables_of(CONFIG, policy)

    def loss(params):
        lattice = RNNT(CONFIG, policy).apply({**variables, "params": params}, *batch)
        logits = lattice.head(lattice.encoded[:, :, None], lattice.predicted[:, None])
        return jnp.sum(logits[:2] * jnp.sin(jnp.arange(9.0))) + jnp.sum(lattice.ctc_logits**2)

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all(), path
        assert np.abs(gradient).max() > 0, path


def test_policies_differ_little_at_eight_bits(batch):
    variables = variables_of(CONFIG, W8A8)
    encoded = [
        RNNT(CONFIG, policy).apply(variables, *batch).ctc_logits[0] for policy in (FLOAT32, W8A8)
    ]
    error = jnp.linalg.norm(encoded[1] - encoded[0]) / jnp.linalg.norm(encoded[0])
    assert 0 < error < 0.1


def test_a_layer_that_no_rule_covers_is_refused(batch):
    policy = PrecisionPolicy("encoder_only", (Rule("encoder/*", Float32()),))
    with pytest.raises(ValueError, match="'encoder_only' has no rule for layer 'joint'"):
        RNNT(CONFIG, policy).init(jax.random.key(0), *batch)


@pytest.mark.parametrize(
    "policy",
    [W8A8, pytest.param(policy_by_name("ethos_u_8x8_16"), marks=pytest.mark.exhaustive)],
    ids=lambda p: p.name,
)
def test_dropout_in_every_arithmetic(policy, batch):
    rates = dataclasses.replace(CONFIG.encoder, dropout_rate=0.3)
    variables = variables_of(CONFIG, policy)
    config = dataclasses.replace(CONFIG, encoder=rates)
    row_keys = jax.random.split(jax.random.key(0), len(batch[0]))
    kept = RNNT(CONFIG, policy).apply(variables, *batch, row_keys)
    dropped = RNNT(config, policy).apply(variables, *batch, row_keys)
    assert np.abs(dequantize(dropped.encoded) - dequantize(kept.encoded)).max() > 0
    silent = RNNT(config, policy).apply(variables, *batch)
    np.testing.assert_array_equal(dequantize(silent.encoded), dequantize(kept.encoded))


def test_reduction_that_no_layer_follows_is_refused():
    with pytest.raises(
        ValueError, match=r"layers_before_reduction=2 must lie in \[0, num_layers=2"
    ):
        EncoderConfig(num_layers=2, layers_before_reduction=2)


def test_a_rematerialized_encoder_has_the_same_gradients(batch):
    variables = variables_of(CONFIG, FLOAT32)

    def gradients(config):
        def loss(params):
            lattice = RNNT(config, FLOAT32).apply({"params": params}, *batch)
            return jnp.square(dequantize(lattice.encoded)).sum()

        return jax.jit(jax.grad(loss))(variables["params"])

    encoder = dataclasses.replace(CONFIG.encoder, rematerialize=True)
    again = gradients(dataclasses.replace(CONFIG, encoder=encoder))
    jax.tree.map(np.testing.assert_array_equal, gradients(CONFIG), again)
