"""A trained model, frozen, computes the integers that it was trained with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.export.freeze import FreezeError, freeze
from rnnt_qat.export.player import Player, greedy, quantize_features
from rnnt_qat.export.replay import GraphRecognizer, first_difference
from rnnt_qat.export.transducer_replay import TransducerRecognizer
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig, StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policies import W8A8
from rnnt_qat.quant.policy import PrecisionPolicy, Rule

LSTM_PREDICTION = LSTMPredictionConfig(embedding_size=6, hidden_size=10, num_layers=1)
FEATURE_SIZE, FRAMES = 9, 11


def policy(*rules):
    return PrecisionPolicy("chip", rules)


def on(spec):
    return policy(Rule("*", OnAccelerator(spec)))


@functools.cache
def calibrated(precision, prediction):
    encoder = EncoderConfig(
        num_layers=2, hidden_size=12, layers_before_reduction=1, time_reduction=2
    )
    config = RNNTConfig(vocabulary=7, encoder=encoder, prediction=prediction, joint_size=8)
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(1, FRAMES, FEATURE_SIZE)), jnp.float32)
    batch = (features, jnp.array([FRAMES]), jnp.array([[1, 5, 2]]), jnp.array([3]))
    calibrating = RNNT(config, precision.calibration())

    @jax.jit
    def observe(key):
        variables = calibrating.init(key, *batch)
        # A trained model's gates are far from zero; so are these.
        params = jax.tree.map(lambda p: 3 * p, variables["params"])
        _, ranges = calibrating.apply(
            {**variables, "params": params}, *batch, mutable="quant_stats"
        )
        return {"params": params, **ranges}

    return RNNT(config, precision), observe(jax.random.key(1)), np.asarray(features)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "prediction"),
    [
        (ETHOS_U_8X8_16, LSTM_PREDICTION),
        (ETHOS_U_16X8, LSTM_PREDICTION),
        (ETHOS_U_16X8.with_weight_bits(4), StatelessPredictionConfig(6, context=2)),
    ],
    ids=["8x8_16", "16x8", "16x8_w4_stateless"],
)
def test_jax_player_and_litert_hold_the_same_integers(spec, prediction):
    model, variables, features = calibrated(on(spec), prediction)
    frozen = freeze(model, variables)
    integers = quantize_features(features, frozen.encoder.layers[0].input)
    jax_model = TransducerRecognizer(BoundTransducer(variables, model), frozen)
    player, litert = Player(frozen), GraphRecognizer(frozen)
    transcript = greedy(player, integers, chunk_frames=4, max_symbols_per_frame=2)
    assert transcript.tokens
    for other, heard in ((jax_model, features), (litert, integers)):
        assert greedy(other, heard, chunk_frames=4, max_symbols_per_frame=2) == transcript
        assert other.states().keys() == player.states().keys()
        for name, state in player.states().items():
            np.testing.assert_array_equal(other.states()[name], state, err_msg=name)
    assert first_difference(frozen, integers, 4) is None


def test_weights_of_fewer_bits_stay_on_their_grid():
    model, variables, _ = calibrated(
        on(ETHOS_U_16X8.with_weight_bits(4)), StatelessPredictionConfig(6, context=2)
    )
    frozen = freeze(model, variables)
    assert frozen.chip == "ethos_u_16x8"
    for layer in frozen.encoder.layers:
        assert np.abs(layer.w_ih).max() == 7
        assert np.abs(layer.w_hh).max() == 7


def test_what_cannot_be_frozen_is_named():
    model, variables, _ = calibrated(on(ETHOS_U_8X8_16), LSTM_PREDICTION)

    def under(*rules):
        return RNNT(model.config, policy(*rules))

    everywhere = Rule("*", OnAccelerator(ETHOS_U_8X8_16))
    float_layer = Rule("encoder/lstm_1", W8A8.resolve(("any",)))
    with pytest.raises(FreezeError, match="layer encoder/lstm_1 computes in IntegerMatmul"):
        freeze(under(float_layer, everywhere), variables)
    with pytest.raises(FreezeError, match="generic_nna is no chip to export to: LiteRT has"):
        freeze(under(Rule("*", OnAccelerator(GENERIC_NNA))), variables)
    other_chip = Rule("encoder/*", OnAccelerator(ETHOS_U_16X8))
    with pytest.raises(FreezeError, match="different chips: encoder/projection on ethos_u_16x8, "):
        freeze(under(other_chip, everywhere), variables)
    unseen = jax.tree.map(jnp.zeros_like, variables["quant_stats"])
    with pytest.raises(FreezeError, match="no range was calibrated for encoder/"):
        freeze(model, {**variables, "quant_stats": unseen})
