"""The whole recognizer on a chip: what training computes in float32 is what integers compute."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.layers.dense import DENSE_SITES, Dense
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.models.serving_record import serving_record
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.quant.precision import Float32
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.serving.freeze import freeze, frozen_variables

CONFIG = RNNTConfig(
    vocabulary=11,
    encoder=EncoderConfig(
        num_layers=2, hidden_size=16, layers_before_reduction=1, time_reduction=2
    ),
    prediction=LSTMPredictionConfig(embedding_size=8, hidden_size=12),
    joint_size=10,
    ctc_head=False,
)
BATCH, FRAMES, FEATURES, LABELS = 3, 12, 6, 5


@pytest.fixture(scope="module")
def batch():
    keys = jax.random.split(jax.random.key(0), 2)
    features = jax.random.normal(keys[0], (BATCH, FRAMES, FEATURES))
    labels = jax.random.randint(keys[1], (BATCH, LABELS), 1, CONFIG.vocabulary)
    return features, jnp.full(BATCH, FRAMES), labels, jnp.full(BATCH, LABELS)


def calibrated(policy, batch):
    """A model with larger parameters than at the start and fewer blanks, and its ranges."""
    calibrating = RNNT(CONFIG, policy.calibration())
    params = calibrating.init(jax.random.key(2), *batch)["params"]
    params = jax.tree.map(lambda p: 2.0 * p, params)
    params["joint"]["bias"] = params["joint"]["bias"].at[0].set(-1.0)
    _, ranges = calibrating.apply({"params": params}, *batch, mutable=[QUANT_STATS])
    return RNNT(CONFIG, policy), {"params": params, **ranges}


@pytest.mark.slow
def test_streamed_integers_give_the_tokens_of_the_training_forward(batch):
    features, *_ = batch
    model, variables = calibrated(policy_by_name("generic_nna"), batch)
    search = GreedyConfig(max_tokens=32).build()

    @partial(jax.jit, static_argnums=1)
    def decode(transducer, chunk):
        def step(carry, frames):
            mask = jnp.ones(frames.shape[:2], bool)
            encoded, mask, encoder_state = transducer.encode(frames, mask, carry[0])
            return (encoder_state, search.step(transducer, encoded, mask, carry[1])), None

        start = transducer.initial_encoder_state(BATCH), search.initial_state(transducer, BATCH)
        chunks = features.reshape(BATCH, -1, chunk, FEATURES).swapaxes(0, 1)
        return jax.lax.scan(step, start, chunks)[0]

    trained = decode(BoundTransducer(variables, model), FRAMES)
    served = decode(freeze(model, variables), 4)
    assert served[0][0].hidden.dtype == jnp.int8
    hypotheses = [search.hypothesis(state) for _, state in (trained, served)]
    assert np.any(hypotheses[0].tokens != 0)
    np.testing.assert_array_equal(hypotheses[0].tokens, hypotheses[1].tokens)
    jax.tree.map(np.testing.assert_array_equal, trained[0], served[0])


@pytest.mark.parametrize("name", ["ethos_u_8x8_16", "ethos_u_16x8+lsq"])
def test_scales_raised_for_a_bias_are_frozen_as_they_were_trained(name, batch):
    """Kernels a billion times smaller than their biases: products are nothing, biases stay."""
    model, variables = calibrated(policy_by_name(name), batch)
    params = jax.tree.map(lambda p: p if p.ndim == 1 else 1e-9 * p, variables["params"])
    params["prediction"]["embedding"] = variables["params"]["prediction"]["embedding"]
    params["encoder"]["projection"]["bias"] = jnp.linspace(-1.0, 1.0, CONFIG.joint_size)
    variables = {
        "params": params,
        QUANT_STATS: jax.tree_util.tree_map_with_path(
            lambda path, r: 1e-9 * r if "kernel" in str(path[-1]) else r, variables[QUANT_STATS]
        ),
    }
    features, mask = batch[0], jnp.ones((BATCH, FRAMES), bool)
    encoded = []
    for bound in (BoundTransducer(variables, model), freeze(model, variables)):
        state = bound.initial_encoder_state(BATCH)
        encoded.append(jax.jit(lambda b, s: b.encode(features, mask, s)[0])(bound, state))
    np.testing.assert_array_equal(*encoded)
    top = np.abs(np.asarray(encoded[0], np.float64)[0, -1])
    assert top[0] == top[-1] == top.max() > 20


def test_ranges_that_calibration_never_reached_are_named():
    model = RNNT(CONFIG, policy_by_name("generic_nna"))
    variables = jax.jit(model.init)(jax.random.key(0), *example_inputs(CONFIG, FEATURES))
    with pytest.raises(ValueError, match="no range was calibrated for encoder/lstm_0/input"):
        freeze(model, variables)


def test_a_parameter_that_no_operator_took_is_named(monkeypatch):
    class WithoutBias(Dense):
        @nn.compact
        def __call__(self, x, mask=None):
            ops = self.operators(DENSE_SITES)
            x = ops.input("input", x)
            shape = ops.values(x).shape[-1], self.features
            kernel = self.param("kernel", nn.initializers.ones, shape)
            self.param("bias", nn.initializers.zeros, (self.features,))
            return ops.accumulate(x, ops.weight("kernel", kernel))

    serving_record.cache_clear()
    monkeypatch.setattr("rnnt_qat.models.encoder.Dense", WithoutBias)
    # Under a policy of its own: the program of a model that was frozen before is kept.
    model = RNNT(CONFIG, policy_by_name("generic_nna_w4"))
    variables = jax.jit(model.init)(jax.random.key(0), *example_inputs(CONFIG, FEATURES))
    with pytest.raises(ValueError, match="projection/bias is a parameter of a layer on the chip"):
        frozen_variables(model, variables)
    serving_record.cache_clear()


def test_layers_off_the_accelerator_keep_their_parameters():
    chip = policy_by_name("generic_nna").rules[0].precision
    policy = PrecisionPolicy("encoder", (Rule("encoder/*", chip), Rule("*", Float32())))
    model = RNNT(CONFIG, policy)
    variables = jax.jit(model.init)(jax.random.key(0), *example_inputs(CONFIG, FEATURES))
    frozen = frozen_variables(
        model, {**variables, QUANT_STATS: jax.tree.map(jnp.ones_like, variables[QUANT_STATS])}
    )
    params = frozen["params"]
    assert params["encoder"]["lstm_1"]["bias"].dtype == jnp.int32
    assert params["encoder"]["projection"]["kernel"].dtype == jnp.int8
    for part in ("prediction", "joint"):
        jax.tree.map(np.testing.assert_array_equal, params[part], variables["params"][part])
