"""The weights of hidden units, and networks without some of them, by their outputs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.infra.config import from_json, to_json
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.hidden_units import (
    living_units,
    lstm_widths,
    unit_norms,
    with_lstm_widths,
    with_zero_units,
    without_dead_units,
)
from rnnt_qat.models.prediction import LSTMPredictionConfig, StatelessPredictionConfig
from rnnt_qat.models.recurrent import GRUConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.quant.policies import FLOAT32

CONFIG = RNNTConfig(
    vocabulary=7,
    encoder=EncoderConfig(num_layers=3, hidden_size=8, layers_before_reduction=1, time_reduction=2),
    prediction=LSTMPredictionConfig(embedding_size=4, hidden_size=6, num_layers=2),
    joint_size=5,
    teacher_width=3,
)
KEPT = {
    "encoder/lstm_0": [0, 3, 4, 7],
    "encoder/lstm_1": [1, 2, 3, 5, 6],
    "encoder/lstm_2": [6],
    "prediction/lstm_0": [0, 1, 2, 3, 4, 5],
    "prediction/lstm_1": [2, 5],
}
WIDTHS = {path: len(units) for path, units in KEPT.items()}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 12, 3)).astype(np.float32)
    return features, np.array([12, 9]), rng.integers(1, 7, (2, 4)), np.array([4, 2])


@pytest.fixture(scope="module")
def params(batch):
    """Far from the start: every bias is there, and gates are far from half open."""
    params = RNNT(CONFIG, FLOAT32).init(jax.random.key(0), *batch)["params"]
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    return tree.unflatten([leaf + 0.5 * rng.normal(size=leaf.shape).astype("f") for leaf in leaves])


def masks(kept):
    widths = lstm_widths(CONFIG)
    return {path: np.isin(np.arange(widths[path]), units) for path, units in kept.items()}


def outputs(config, params, batch):
    """Everything that losses and decoders read: both axes of the lattice, CTC, projections."""
    lattice = RNNT(config, FLOAT32).apply({"params": params}, *batch)
    return lattice.encoded, lattice.predicted, lattice.ctc_logits, lattice.head.kernel


def test_the_network_without_pruned_units_computes_what_the_larger_one_does(params, batch):
    pruned = with_zero_units(params, masks(KEPT))
    config = with_lstm_widths(CONFIG, WIDTHS)
    smaller = jax.jit(lambda p: without_dead_units(p, WIDTHS))(pruned)
    expected = RNNT(config, FLOAT32).init(jax.random.key(0), *batch)["params"]
    assert jax.tree.map(jnp.shape, smaller) == jax.tree.map(jnp.shape, expected)
    for before, after in zip(
        outputs(CONFIG, pruned, batch), outputs(config, smaller, batch), strict=True
    ):
        assert np.abs(before).max() > 0.1
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)
    # Not because the units did nothing: without them the dense network computes something else.
    dense = outputs(CONFIG, params, batch)
    assert np.abs(dense[0] - outputs(CONFIG, pruned, batch)[0]).max() > 0.1


def test_a_unit_is_its_gates_its_recurrent_row_and_what_reads_it(params):
    """Every weight that pruning changes, in NumPy, for a layer before the time reduction."""
    kept = masks({"encoder/lstm_0": KEPT["encoder/lstm_0"]})
    pruned = with_zero_units(params, kept)
    expected = jax.tree.map(lambda leaf: np.array(leaf), params)
    first, second = expected["encoder"]["lstm_0"], expected["encoder"]["lstm_1"]
    for unit in (1, 2, 5, 6):
        for gate in range(4):
            first["input_kernel"][:, 8 * gate + unit] = 0
            first["recurrent_kernel"][:, 8 * gate + unit] = 0
            first["bias"][8 * gate + unit] = 0
        first["recurrent_kernel"][unit] = 0
        for frame in range(2):
            second["input_kernel"][8 * frame + unit] = 0
        for state in ("hidden", "cell"):
            expected["state_projection_0"][state][unit] = 0
    jax.tree.map(np.testing.assert_array_equal, pruned, expected)
    assert {p: m.tolist() for p, m in living_units(pruned).items()}["encoder/lstm_0"] == [
        unit in KEPT["encoder/lstm_0"] for unit in range(8)
    ]
    assert all(living.all() for living in living_units(params).values())


def test_the_norm_of_a_unit_is_that_of_its_weights_without_biases(params):
    layer, projection = params["prediction"]["lstm_1"], params["prediction"]["projection"]["kernel"]
    norms = []
    for unit in range(6):
        columns = [6 * gate + unit for gate in range(4)]
        weights = (
            layer["input_kernel"][:, columns],
            layer["recurrent_kernel"][:, columns],
            layer["recurrent_kernel"][unit],
            projection[unit],
        )
        norms.append(np.sqrt(sum(float((w**2).sum()) for w in weights)))
    np.testing.assert_allclose(unit_norms(params)["prediction/lstm_1"], norms, rtol=1e-5)


def test_fewer_pruned_units_than_asked_for_leave_the_first_dead_ones(params, batch):
    """Widths come from the plan: a layer that pruned more than planned keeps dead units."""
    pruned = with_zero_units(params, masks({"encoder/lstm_2": [6]}))
    widths = lstm_widths(CONFIG) | {"encoder/lstm_2": 3}
    smaller = without_dead_units(pruned, widths)
    assert living_units(smaller)["encoder/lstm_2"].tolist() == [False, False, True]
    config = with_lstm_widths(CONFIG, widths)
    for before, after in zip(
        outputs(CONFIG, pruned, batch), outputs(config, smaller, batch), strict=True
    ):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)


def test_widths_of_layers_are_a_part_of_the_config():
    smaller = with_lstm_widths(CONFIG, WIDTHS)
    assert smaller.encoder.hidden_size == (4, 5, 1)
    assert smaller.prediction.hidden_size == (6, 2)
    assert from_json(RNNTConfig, to_json(smaller)) == smaller
    assert lstm_widths(smaller) == WIDTHS
    assert with_lstm_widths(CONFIG, lstm_widths(CONFIG)) == CONFIG  # one number again
    stateless = dataclasses.replace(
        CONFIG,
        encoder=dataclasses.replace(CONFIG.encoder, layer=GRUConfig()),
        prediction=StatelessPredictionConfig(),
    )
    assert lstm_widths(stateless) == {}
    assert with_lstm_widths(stateless, {}) == stateless


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EncoderConfig(num_layers=3, hidden_size=(4, 5)), "2 widths for num_layers=3"),
        (lambda: EncoderConfig(num_layers=2, hidden_size=(4, 0)), "must be at least 1"),
        (lambda: LSTMPredictionConfig(hidden_size=(4, 5)), "LSTMPredictionConfig.hidden_size"),
    ],
)
def test_impossible_widths_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_width_in_a_tuple_is_that_of_all_layers():
    """As an override with one number leaves it in a config that has several."""
    assert EncoderConfig(num_layers=2, hidden_size=(4,)).hidden_sizes == (4, 4)
