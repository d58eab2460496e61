"""Every kind of recurrent layer in the whole recognizer: served as trained, audited, listed."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.infra.config import from_json, to_json
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.recurrent import (
    GRUConfig,
    LSTMConfig,
    NormalizedConfig,
    ProjectedLSTMConfig,
)
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.quant.diagnostics import DIAGNOSTICS
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.serving.audit import audit
from rnnt_qat.serving.formats import tensor_rows
from rnnt_qat.serving.freeze import freeze
from rnnt_qat.serving.size import model_bytes

FRAMES, FEATURES = 8, 5
KINDS = {
    "projected_lstm": ProjectedLSTMConfig(projection=4),
    "gru": GRUConfig(),
    "normalized_lstm": NormalizedConfig(),
}
ON_CHIPS = [
    ("projected_lstm", "ethos_u_16x8"),
    pytest.param("projected_lstm", "generic_nna", marks=pytest.mark.exhaustive),
    pytest.param("gru", "generic_nna", marks=pytest.mark.exhaustive),
    pytest.param("gru", "ethos_u_16x8", marks=pytest.mark.exhaustive),
    ("normalized_lstm", "generic_nna"),
]


def config(kind):
    return RNNTConfig(
        vocabulary=7,
        encoder=EncoderConfig(num_layers=2, hidden_size=8, layer=KINDS[kind]),
        prediction=LSTMPredictionConfig(4, 6, layer=KINDS[kind]),
        joint_size=6,
        ctc_head=False,
    )


def calibrated(config, policy):
    """A model, its variables and what they were calibrated on."""
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(1, FRAMES, FEATURES)), jnp.float32)
    batch = (features, jnp.array([FRAMES]), jnp.array([[1, 5, 2]]), jnp.array([3]))
    calibrating = RNNT(config, policy.calibration())

    @jax.jit
    def observe(key):
        params = calibrating.init(key, *batch)["params"]
        params = jax.tree.map(lambda p: 2 * p, params)
        _, ranges = calibrating.apply({"params": params}, *batch, mutable=[QUANT_STATS])
        return {"params": params, **ranges}

    return RNNT(config, policy), observe(jax.random.key(1)), features


def results(model, variables, features, chunk):
    """Projections of all frames and labels, logits of each pair, last states: as integers."""
    frames = jnp.ones((1, chunk), bool)

    @jax.jit
    def run(variables, features):
        bound, state, encoded = model.bind(variables), None, []
        for start in range(0, FRAMES, chunk):
            part, _, state = bound.encode(features[:, start : start + chunk], frames, state)
            encoded.append(part)
        labels = jnp.array([[0, 3, 6]])
        predicted, other = bound.predict(labels, jnp.ones((1, 3), bool))
        encoded = jnp.concatenate(encoded, axis=1)
        head = bound.head()
        logits = head.ops.values(head.logits(encoded[:, :, None], predicted[:, None]))
        return encoded, predicted, logits, state, other

    return jax.tree.map(lambda x: np.asarray(x).astype(np.int64), run(variables, features))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "chip"), ON_CHIPS)
def test_served_as_trained_and_all_on_the_chip(kind, chip):
    policy = policy_by_name(chip)
    model, variables, features = calibrated(config(kind), policy)
    served = freeze(model, variables)
    assert all(
        jnp.issubdtype(leaf.dtype, jnp.integer)
        for leaf in jax.tree.leaves(served.variables["params"])
    )
    expected = results(model, variables, features, FRAMES)
    assert np.unique(expected[2]).size > 5
    found = results(served.model, served.variables, features, 2)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert audit(model.config, policy, FEATURES) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_configs_are_saved_and_those_of_before_mean_plain_lstms(kind):
    saved = to_json(config(kind))
    assert from_json(RNNTConfig, json.loads(json.dumps(saved))) == config(kind)
    del saved["encoder"]["layer"], saved["prediction"]["layer"]
    loaded = from_json(RNNTConfig, saved)
    assert (loaded.encoder.layer, loaded.prediction.layer) == (LSTMConfig(), LSTMConfig())


@pytest.mark.parametrize(("kind", "state"), [("projected_lstm", "projected"), ("gru", "memory")])
def test_every_operator_of_a_cell_is_diagnosed(kind, state):
    model = RNNT(config(kind), policy_by_name("generic_nna").diagnosis())
    inputs = example_inputs(model.config, FEATURES)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    found = set(shapes[DIAGNOSTICS]["encoder"][f"{kind}_1"])
    assert {"input_kernel quantize", "gate_input requantize", "gate_pre add"} <= found
    assert {"gate sigmoid", "gate tanh", "accumulator dot"} <= found
    assert {name for name in found if name.startswith(f"{state} ")}
    assert not {name for name in found if name.startswith("minus_one")}


FUSED_ONLY = ("ethos_u_8x8_16", "ethos_u_8x8_16_w4")


@pytest.mark.parametrize(
    ("kind", "layer", "tensor", "chips"),
    [
        ("projected_lstm", "projected_lstm_0", "'projected' of role PROJECTED", FUSED_ONLY),
        ("gru", "gru_0", "'memory' of role MEMORY", FUSED_ONLY),
        (
            *("normalized_lstm", "normalized_lstm_0/norm", "'normalized' of role NORMALIZED"),
            (*FUSED_ONLY, "ethos_u_16x8", "tosa_16x8"),
        ),
    ],
)
def test_a_chip_that_lacks_a_layer_s_operators_refuses_it(kind, layer, tensor, chips):
    for chip in chips:
        message = f"policy '{chip}': layer encoder/{layer} has a tensor {tensor}"
        with pytest.raises(ValueError, match=message):
            calibrated(config(kind), policy_by_name(chip))


def test_the_normalization_is_an_operator_of_the_chip_s():
    model, policy = config("normalized_lstm"), policy_by_name("generic_nna")
    rows = {(row.layer, row.tensor): row for row in tensor_rows(model, policy)}
    row = rows["encoder/normalized_lstm_1/norm", "normalized"]
    assert (row.numbers, row.operators) == ("int8", "NPU: layer_norm")
    shapes = jax.eval_shape(
        RNNT(model, policy.diagnosis()).init, jax.random.key(0), *example_inputs(model, FEATURES)
    )
    assert "normalized layer_norm" in shapes[DIAGNOSTICS]["encoder"]["normalized_lstm_0"]["norm"]


def test_formats_and_sizes_know_every_kind():
    for kind in ("projected_lstm", "gru"):
        model, policy = config(kind), policy_by_name("ethos_u_16x8")
        rows = {(row.layer, row.tensor): row for row in tensor_rows(model, policy)}
        assert rows[f"encoder/{kind}_0", "gate_input"].operators == "NPU: dot"
        state = {"projected_lstm": "cell", "gru": "memory"}[kind]
        assert rows[f"prediction/{kind}_0", state].operators == "NPU: mul, add"
        inputs = example_inputs(model, FEATURES)
        init = RNNT(model, policy_by_name("float32")).init
        shapes = jax.eval_shape(init, jax.random.key(0), *inputs)
        numbers = sum(leaf.size for leaf in jax.tree.leaves(shapes))
        assert model_bytes(model, policy_by_name("float32"), FEATURES) == 4 * numbers


def test_a_projection_makes_a_wide_cell_small():
    def size(kind):
        encoder = EncoderConfig(num_layers=2, hidden_size=64, layer=kind)
        return model_bytes(
            dataclasses.replace(config("projected_lstm"), encoder=encoder),
            policy_by_name("ethos_u_16x8"),
            FEATURES,
        )

    narrow, wide = size(ProjectedLSTMConfig(projection=16)), size(EncoderConfig().layer)
    assert narrow < 0.5 * wide
