"""Layers exported from what they ask of their operators."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.artefact.artefact import Artefact, load, save
from rnnt_qat.artefact.layer_player import initial_state, play_layer
from rnnt_qat.artefact.player import quantize_features
from rnnt_qat.artefact.recorded_layer import RecordedLayer
from rnnt_qat.export import layout
from rnnt_qat.export.freeze import FreezeError, freeze
from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.recurrent import LSTMConfig
from rnnt_qat.models.serving_record import serving_record
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.serving.freeze import frozen_variables
from rnnt_qat.verify.replay import first_difference
from rnnt_qat.verify.verification import UtteranceFeatures, verify
from tests.integration.test_recurrent_kinds import FEATURES, calibrated, config


@functools.cache
def model_of(kind, chip):
    model = config("gru" if kind == "lstm" else kind)
    if kind == "lstm":
        encoder, prediction = (
            dataclasses.replace(network, layer=LSTMConfig())
            for network in (model.encoder, model.prediction)
        )
        model = dataclasses.replace(model, encoder=encoder, prediction=prediction)
    return calibrated(model, policy_by_name(chip))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["gru", pytest.param("projected_lstm", marks=pytest.mark.exhaustive)]
)  # no graph has its norm
def test_every_decoder_holds_the_integers_that_were_trained_with(kind, tmp_path):
    model, variables, features = model_of(kind, "ethos_u_16x8")
    frozen = freeze(model, variables)
    assert [layer.cell_kind for layer in frozen.encoder.layers] == [kind, kind]
    heard = [UtteranceFeatures("u", np.concatenate([np.asarray(features)[0]] * 2)[:15])]
    found = verify(frozen, BoundTransducer(variables, model), heard, (1, 3), 2)
    decoders = [agreement.decoder.split()[0] for agreement in found.agreements]
    assert all(isinstance(layer, RecordedLayer) for layer in frozen.prediction.layers)
    assert decoders == ["JAX", "LiteRT", "LiteRT", "TFLM"]
    for agreement in found.agreements:
        assert agreement.exact, agreement
        assert agreement.tokens > 0
    integers = quantize_features(heard[0].features, frozen.encoder.layers[0].input)
    assert first_difference(frozen, integers, 4) is None

    settings = {"stack": 1, "deviation": 1.0, "log_mel": {"num_mel_bins": FEATURES}}
    settings |= {"mean": [0.0] * FEATURES, "std": [1.0] * FEATURES}
    save(Artefact(frozen, ("", *"abcdef"), settings), tmp_path / "artefact")
    again = load(tmp_path / "artefact").model
    found = verify(again, BoundTransducer(variables, model), heard, (1,), 2)
    assert all(agreement.exact for agreement in found.agreements)


@pytest.mark.slow
def test_a_recorded_lstm_plays_as_the_one_that_is_laid_out_by_hand(monkeypatch):
    model, variables, features = model_of("lstm", "ethos_u_16x8")
    by_hand = freeze(model, variables).encoder.layers
    monkeypatch.setattr(layout, "LSTM", type(None))
    recorded = freeze(model, variables).encoder.layers
    xs = quantize_features(np.asarray(features)[0], by_hand[0].input)
    for first, second in zip(by_hand, recorded, strict=True):
        assert isinstance(second, RecordedLayer)
        assert second.state_formats == first.state_formats
        arithmetic = freeze(model, variables).arithmetic
        ys, state = play_layer(first, xs, initial_state(first), arithmetic)
        zs, other = play_layer(second, xs, initial_state(second), arithmetic)
        np.testing.assert_array_equal(ys, zs)
        assert np.unique(ys).size > 10
        jax.tree.map(np.testing.assert_array_equal, dict(state), dict(other))
        xs = np.concatenate([ys[0::2], ys[1::2]], axis=1)


class Sealed(LSTM):
    """A layer that is not the fused operator, though it asks for nothing else."""


def test_a_cell_that_the_fused_operator_is_not_is_refused(monkeypatch):
    serving_record.cache_clear()
    monkeypatch.setattr("rnnt_qat.models.recurrent.LSTM", Sealed)
    monkeypatch.setattr(layout, "LSTM", type(None))
    monkeypatch.setattr("rnnt_qat.export.freeze.frozen_variables", lambda model, v: v)
    model, variables, _ = model_of("lstm", "ethos_u_16x8")
    model = model.clone(policy=policy_by_name("ethos_u_8x8_16"))
    with pytest.raises(FreezeError, match=r"encoder/lstm_0: .*fused LSTM, and Sealed is none"):
        freeze(model, variables)
    serving_record.cache_clear()


class Doubling(LSTM):
    """Computes outside of its operators."""

    def __call__(self, xs, mask, state=None):
        ys, mask, state = super().__call__(xs, mask, state)
        return 2 * jnp.asarray(ys), mask, state


def test_arithmetic_outside_of_the_operators_is_named(monkeypatch):
    model, variables, _ = model_of("lstm", "ethos_u_16x8")
    frozen = frozen_variables(model, variables)  # those of the plain cell: this one cannot run
    serving_record.cache_clear()
    monkeypatch.setattr("rnnt_qat.models.recurrent.LSTM", Doubling)
    monkeypatch.setattr(layout, "LSTM", type(None))
    monkeypatch.setattr("rnnt_qat.export.freeze.frozen_variables", lambda *_: frozen)
    with pytest.raises(FreezeError, match=r"layer encoder/lstm_0: mul of .* between its operators"):
        freeze(model, variables)
    serving_record.cache_clear()
