"""The fallback's graphs hold the products' own weights."""

import dataclasses

import jax
import numpy as np
import pytest

from rnnt_qat.export.freeze import FreezeError
from rnnt_qat.export.matmul_layout import matmul_layout
from rnnt_qat.export.rnnt_graphs import encoder_chunk, joint_step, prediction_step
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig, StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.quant.policies import FLOAT32, W4A8
from rnnt_qat.verify.runtimes import LiteRt
from tests.integration.test_recurrent_kinds import KINDS

FEATURE_SIZE = 9
LSTM = LSTMPredictionConfig(embedding_size=6, hidden_size=10, num_layers=2)


def initialised(prediction, policy):
    config = RNNTConfig(
        vocabulary=7,
        encoder=EncoderConfig(num_layers=2, hidden_size=12),
        prediction=prediction,
        joint_size=8,
    )
    shapes = jax.eval_shape(
        RNNT(config, FLOAT32).init, jax.random.key(0), *example_inputs(config, FEATURE_SIZE)
    )
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype("f"), shapes)
    return RNNT(config, policy), params


@pytest.mark.parametrize("prediction", [LSTM, StatelessPredictionConfig(6, context=2)])
def test_weights_are_the_products_and_the_graphs_load(prediction):
    model, variables = initialised(prediction, W4A8)
    layout = matmul_layout(model, variables)
    kernel = np.asarray(variables["params"]["encoder"]["lstm_1"]["recurrent_kernel"])
    layer = layout.encoder.layers[1]
    assert layer.w_hh.shape == (4, 12, 12)
    assert np.abs(layer.w_hh).max() == 7
    real = layer.w_hh * layer.w_hh_scale[..., None]
    by_gate = kernel.T.reshape(4, 12, 12)
    step = layer.w_hh_scale[..., None]
    held = np.clip(by_gate, -7 * step, 7 * step)
    assert np.all(np.abs(real - held) <= 0.5001 * step)
    for graph in (encoder_chunk(layout, 4), prediction_step(layout), joint_step(layout)):
        LiteRt(graph)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"normalized_lstm"}))
def test_other_cells_are_laid_out_from_their_record(kind):
    model, variables = initialised(dataclasses.replace(LSTM, layer=KINDS[kind]), W4A8)
    layout = matmul_layout(model, variables)
    assert [layer.cell_kind for layer in layout.prediction.layers] == [kind, kind]
    LiteRt(prediction_step(layout))


def test_other_arithmetic_is_refused():
    model, variables = initialised(LSTM, FLOAT32)
    with pytest.raises(FreezeError, match="encoder/lstm_0 computes in Float32"):
        matmul_layout(model, variables)


def test_a_layer_norm_is_refused_because_no_graph_holds_one():
    model, variables = initialised(dataclasses.replace(LSTM, layer=KINDS["normalized_lstm"]), W4A8)
    with pytest.raises(FreezeError, match="prediction/normalized_lstm_0/norm is a layer norm"):
        matmul_layout(model, variables)
