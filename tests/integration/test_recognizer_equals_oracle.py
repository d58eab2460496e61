"""A million integers and more of the whole recognizer: as trained with, as served, in NumPy.

Encoder, prediction network and the joint of every pair of both. ``generic_nna`` starts from random
and from corner states and is compared with an int64 oracle; Ethos-U with the NumPy player.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.artefact.player import Player, quantize_features
from rnnt_qat.export import freeze as export
from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.layers.lstm_scan import LSTMState
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.serving.freeze import freeze
from tests.reference.generic_recognizer import GenericRecognizer

CONFIG = RNNTConfig(
    vocabulary=29,
    encoder=EncoderConfig(
        num_layers=2, hidden_size=48, layers_before_reduction=1, time_reduction=2
    ),
    prediction=LSTMPredictionConfig(embedding_size=12, hidden_size=40),
    joint_size=36,
    ctc_head=False,
)
WIDTHS = {"encoder": (48, 48), "prediction": (40,)}
BATCH, FRAMES, FEATURES, LABELS = 12, 96, 14, 28


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(BATCH, FRAMES, FEATURES)).astype(np.float32)
    features[:2] *= 30.0  # saturated
    labels = rng.integers(0, CONFIG.vocabulary, (BATCH, LABELS))
    return features, np.full(BATCH, FRAMES), labels, np.full(BATCH, LABELS)


def calibrated(name, batch):
    """A model whose gates are far from zero, as a trained one's are, and its ranges."""
    policy = policy_by_name(name)
    calibrating = RNNT(CONFIG, policy.calibration())

    @jax.jit
    def observe(key):
        quiet = batch[0][2:], *(x[2:] for x in batch[1:])
        params = jax.tree.map(lambda p: 2.0 * p, calibrating.init(key, *quiet)["params"])
        _, ranges = calibrating.apply({"params": params}, *quiet, mutable=QUANT_STATS)
        return {"params": params, **ranges}

    return RNNT(CONFIG, policy), observe(jax.random.key(2))


def states(rng=None):
    """Hidden and cell of each LSTM, int64: random with some rows of corners, or zeros."""

    def draw(bits, shape):
        if rng is None:
            return np.zeros(shape, np.int64)
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
        state = rng.integers(low, high, shape)
        state[:4] = rng.choice([low, low + 1, -1, 0, 1, high - 1], (4, shape[1]))
        return state

    return {
        network: [(draw(8, (BATCH, width)), draw(16, (BATCH, width))) for width in widths]
        for network, widths in WIDTHS.items()
    }


def integers(model, variables, features, labels, initial):
    """Hidden states after every step, last cells and projection of both networks; the joint."""

    def part(network, method, inputs):
        held = tuple(
            LSTMState(hidden.astype(like.hidden.dtype), cell.astype(like.cell.dtype))
            for (hidden, cell), like in zip(
                initial[network],
                model.apply(variables, method=lambda m: getattr(m, network).initial_state(BATCH)),
                strict=True,
            )
        )
        (projected, *_, last), seen = model.apply(
            variables,
            inputs,
            jnp.ones(inputs.shape[:2], bool),
            held,
            method=method,
            capture_intermediates=lambda module, _: isinstance(module, LSTM),
            mutable="intermediates",
        )
        calls = [seen["intermediates"][network][f"lstm_{n}"]["__call__"] for n in range(len(held))]
        return [call[0][0].values for call in calls], [state.cell for state in last], projected

    encoder = part("encoder", RNNT.encode, features)
    prediction = part("prediction", RNNT.predict, labels)
    head = model.apply(variables, method=RNNT.head)
    pairs = encoder[-1][:, :, None], prediction[-1][:, None]
    return encoder, prediction, (head.hidden(*pairs).values, head.logits(*pairs).values)


def assert_same(ours, expected):
    """Every integer; how many there are."""
    count = 0
    pairs = zip(*map(jax.tree.leaves, (ours, expected)), strict=True)
    for a, b in pairs:
        assert np.asarray(b).std() > 0
        np.testing.assert_array_equal(a, b)
        count += b.size
    return count


def in_training_and_served(model, variables, features, labels, initial):
    served = freeze(model, variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(served.variables["params"]):
        assert jnp.issubdtype(leaf.dtype, jnp.integer), path
    for m, v in ((model, variables), (served.model, served.variables)):
        yield jax.jit(partial(integers, m))(v, features, labels, initial), served
    assert all(
        jnp.issubdtype(leaf.dtype, jnp.signedinteger)
        for leaf in jax.tree.leaves(
            jax.eval_shape(partial(integers, m), v, features, labels, initial)
        )
    )


@pytest.mark.slow
def test_generic_nna_from_any_state(batch):
    features, _, labels, _ = batch
    initial = states(np.random.default_rng(1))
    forms = in_training_and_served(*calibrated("generic_nna", batch), features, labels, initial)
    expected = None
    for ours, served in forms:
        if expected is None:
            oracle = GenericRecognizer(served.variables, 1, 2)
            encoder = oracle.encode(features, initial["encoder"])
            prediction = oracle.predict(labels, initial["prediction"])
            expected = encoder, prediction, oracle.joint(encoder[-1], prediction[-1])
        assert assert_same(ours, expected) > 1_000_000


def played(model, variables, features, labels):
    """The same of the NumPy player, row by row."""
    frozen = export.freeze(model, variables)
    rows = []
    for row in range(BATCH):
        seen: dict[str, list[np.ndarray]] = {}
        player = Player(frozen, lambda name, x, seen=seen: seen.setdefault(name, []).append(x))
        encoded = player.encode(quantize_features(features[row], frozen.encoder.layers[0].input))
        predicted = np.stack([player.predict(label) for label in labels[row]])
        cells = player.states()
        networks = [
            (
                [np.concatenate(seen[f"{network}/lstm_{n}/hiddens"]) for n in range(len(widths))],
                [cells[f"{network}/lstm_{n}/cell"] for n in range(len(widths))],
                projected,
            )
            for (network, widths), projected in zip(
                WIDTHS.items(), (encoded, predicted), strict=True
            )
        ]
        logits = player.logits(encoded[:, None], predicted)  # it broadcasts
        rows.append((*networks, (seen["joint/hidden"][-1][0], logits)))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ethos_u_8x8_16", pytest.param("ethos_u_16x8_w4", marks=pytest.mark.exhaustive)]
)
def test_ethos_u(name, batch):
    features, _, labels, _ = batch
    model, variables = calibrated(name, batch)
    expected = played(model, variables, features, labels)
    for ours, _ in in_training_and_served(model, variables, features, labels, states()):
        assert assert_same(ours, expected) > 1_000_000
