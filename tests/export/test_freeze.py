"""A trained model, frozen, computes the integers that it was trained with."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.artefact.player import Player, greedy, quantize_features
from rnnt_qat.export.freeze import FreezeError, freeze
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig, StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policies import W8A8
from rnnt_qat.quant.policy import PrecisionPolicy, Rule
from rnnt_qat.verify.replay import first_difference
from rnnt_qat.verify.verification import UtteranceFeatures, verify

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


def utterances(features):
    """The calibrated one and two more, one of an odd number of frames."""
    rng = np.random.default_rng(1)
    others = [rng.normal(size=(frames, FEATURE_SIZE)).astype(np.float32) for frames in (8, 5)]
    return [UtteranceFeatures(f"u{n}", x) for n, x in enumerate((features, *others))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "prediction"),
    [
        (ETHOS_U_8X8_16, LSTM_PREDICTION),
        pytest.param(ETHOS_U_16X8, LSTM_PREDICTION, marks=pytest.mark.exhaustive),
        pytest.param(
            ETHOS_U_16X8.with_weight_bits(4),
            StatelessPredictionConfig(6, context=2),
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=["8x8_16", "16x8", "16x8_w4_stateless"],
)
def test_every_decoder_holds_the_integers_that_were_trained_with(spec, prediction):
    model, variables, features = calibrated(on(spec), prediction)
    frozen, heard = freeze(model, variables), utterances(features)
    told = []
    found = verify(
        frozen, BoundTransducer(variables, model), heard, (1, 3), 2, lambda *work: told.append(work)
    )
    decoders = [(a.decoder.split()[0], a.chunk_frames) for a in found.agreements]
    assert decoders == [("JAX", 1), ("LiteRT", 1), ("LiteRT", 3), ("TFLM", 1)]
    for agreement in found.agreements:
        assert agreement.exact, agreement
        assert agreement.utterances == 3
        assert agreement.tokens > 0
        assert agreement.integers > 200
    assert told[-1] == (sum(len(u.features) for u in heard),) * 2
    # TFLM hides a fused LSTM's states, so it cannot end with a chunk of another length.
    longer = verify(frozen, BoundTransducer(variables, model), heard, (3,), 2)
    assert all(agreement.exact for agreement in longer.agreements)
    assert [a.chunk_frames for a in longer.agreements] == [3, 3, 3]
    integers = quantize_features(features, frozen.encoder.layers[0].input)
    assert found.transcripts["u0"] == greedy(Player(frozen), integers, 2, 2)
    assert first_difference(frozen, integers, 4) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "operator"),
    [
        (ETHOS_U_8X8_16, "encoder/lstm_1/hiddens[0, 5]"),
        (ETHOS_U_16X8, f"encoder/lstm_1/0/pre[0, {3 * 12 + 5}]"),
    ],
    ids=["8x8_16", "16x8"],
)
def test_one_wrong_weight_is_found_and_its_operator_named(spec, operator):
    model, variables, features = calibrated(on(spec), StatelessPredictionConfig(6, context=2))
    frozen = freeze(model, variables)
    first, second = frozen.encoder.layers
    kernel = second.w_hh.copy()
    kernel[3, 5] ^= 64  # the output gate of unit 5
    layers = (first, dataclasses.replace(second, w_hh=kernel))
    encoder = dataclasses.replace(frozen.encoder, layers=layers)
    wrong = dataclasses.replace(frozen, encoder=encoder)
    found = verify(wrong, BoundTransducer(variables, model), utterances(features), (1,), 2)
    jax_model, *graphs = found.agreements
    assert jax_model.differing_integers > 0
    assert jax_model.first_difference.startswith("u0: encoder chunk at feature frame ")
    assert f": {operator} is " in jax_model.first_difference
    assert all(agreement.exact for agreement in graphs)  # they were made from the same integers


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
    with pytest.raises(
        FreezeError, match="generic_nna is no chip to export to: LiteRT or TOSA has"
    ):
        freeze(under(Rule("*", OnAccelerator(GENERIC_NNA))), variables)
    other_chip = Rule("encoder/*", OnAccelerator(ETHOS_U_16X8))
    with pytest.raises(FreezeError, match="different chips: encoder/projection on ethos_u_16x8, "):
        freeze(under(other_chip, everywhere), variables)
    unseen = jax.tree.map(jnp.zeros_like, variables["quant_stats"])
    with pytest.raises(FreezeError, match="no range was calibrated for encoder/"):
        freeze(model, {**variables, "quant_stats": unseen})
