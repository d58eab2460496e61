"""Chips of the design space, as trained with and as served, against int64 NumPy: every integer.

Each line changes several fields at once, and all values of every field occur.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.design import FIELDS
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.layers.lstm_scan import LSTMState
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.serving.freeze import freeze
from tests.reference.design_recognizer import DesignRecognizer

CONFIG = RNNTConfig(
    vocabulary=11,
    encoder=EncoderConfig(
        num_layers=1, hidden_size=24, layers_before_reduction=0, time_reduction=1
    ),
    prediction=LSTMPredictionConfig(embedding_size=8, hidden_size=16),
    joint_size=20,
    ctc_head=False,
)
BATCH, FRAMES, FEATURES, LABELS = 8, 24, 14, 12
WIDTHS = {"encoder": 24, "prediction": 16}

LINES = (
    "generic_nna_crude",
    "generic_nna_crude_w3{cell.bits=8, accumulator.bits=16, accumulator.tile=4}",
    "generic_nna{gate.unit=table64, rounding=even, weights=6, accumulator.bits=20}",
    "generic_nna{gate.unit=nearest64, gates.bits=8, rounding=truncate, joint_hidden.unit=plan}",
    "generic_nna{gate.sigmoid=plan, gate.tanh=nearest512, cell.bits=12, cell.rounding=truncate}",
    "generic_nna{gate.unit=table256, cell.frac=8, hidden.bits=6, hidden.rounding=up, weights=5}",
    "generic_nna{gate_pre.bits=10, gate.bits=12, input.bits=5, projection.bits=9, weights=2}",
    "generic_nna{accumulator.bits=18, accumulator.overflow=wrap, overflow=wrap, rounding=up}",
    "generic_nna{accumulator.bits=15, accumulator.overflow=wrap, accumulator.tile=5, weights=7}",
    "generic_nna{accumulator.bits=40, input.bits=16, hidden.bits=16, joint_hidden.bits=12}",
    "generic_nna{rescale=multiplier24, weights.scale=free, input.scale=free, logits.scale=free}",
    "generic_nna{rescale=multiplier12, weights.scale=free, weights.scale_bits=9, rounding=even, "
    "weights.grain=channel}",
    "generic_nna{rescale=doubling, weights.scale=free, weights=4, weights.grain=gate, gates.bits=9,"
    " gate.unit=hard}",
    "generic_nna{rescale=multiplier16, accumulator.bits=48, hidden.bits=16, rounding=truncate}",
    "generic_nna{add.fused=yes, cell.bits=6, gate.unit=plan, logits.bits=8, add.rounding=even}",
)


def calibrated(line, features, labels):
    policy = policy_by_name(line)
    calibrating = RNNT(CONFIG, policy.calibration())

    @jax.jit
    def observe(key):
        lengths = jnp.full(BATCH, FRAMES), jnp.full(BATCH, LABELS)
        batch = features, lengths[0], labels, lengths[1]
        params = jax.tree.map(spread, calibrating.init(key, *batch)["params"])
        _, ranges = calibrating.apply({"params": params}, *batch, mutable=QUANT_STATS)
        return {"params": params, **ranges}

    return RNNT(CONFIG, policy), observe(jax.random.key(2))


def spread(p):
    """Larger than at first, and each column another size, for scales that follow columns."""
    return p * 2.0 ** jax.random.uniform(jax.random.key(p.size), p.shape[-1:], minval=0, maxval=2)


def states(spec):
    """Random integers, some of them the ends of their formats."""
    rng = np.random.default_rng(1)

    def draw(role, width):
        qformat = spec.tensor(role).format
        state = rng.integers(qformat.minimum, qformat.maximum + 1, (BATCH, width))
        state[:2] = rng.choice([qformat.minimum, -1, 0, 1, qformat.maximum], (2, width))
        return state

    return {
        network: (draw(Role.HIDDEN, width), draw(Role.CELL, width))
        for network, width in WIDTHS.items()
    }


def integers(model, variables, features, labels, initial):
    """Projections, last cells, and the logits of every pair."""
    dtypes = [
        model.policy.rules[0].precision.state_dtype(role) for role in (Role.HIDDEN, Role.CELL)
    ]
    found = []
    for network, method, xs in (
        ("encoder", RNNT.encode, features),
        ("prediction", RNNT.predict, labels),
    ):
        state = (LSTMState(*map(jnp.asarray, initial[network], dtypes)),)
        mask = jnp.ones(xs.shape[:2], bool)
        projected, *_, (last,) = model.apply(variables, xs, mask, state, method=method)
        found.append((projected, last.cell))
    head = model.apply(variables, method=RNNT.head)
    logits = head.logits(found[0][0][:, :, None], found[1][0][:, None]).values
    return *found, logits


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", [*LINES[:4], *(pytest.param(line, marks=pytest.mark.exhaustive) for line in LINES[4:])]
)
def test_every_integer(line):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(BATCH, FRAMES, FEATURES)).astype(np.float32)
    features[:2] *= 30.0  # saturated
    labels = rng.integers(0, CONFIG.vocabulary, (BATCH, LABELS))
    model, variables = calibrated(line, features[2:].repeat(4, 0)[:BATCH], labels)
    served = freeze(model, variables)
    spec = model.policy.rules[0].precision.spec
    initial = states(spec)

    oracle = DesignRecognizer(spec, jax.tree.map(np.asarray, served.variables))
    encoded = oracle.encode(features, initial["encoder"])
    predicted = oracle.predict(labels, initial["prediction"])
    expected = encoded, predicted, oracle.joint(encoded[0], predicted[0])

    for m, v in ((model, variables), (served.model, served.variables)):
        ours = jax.jit(partial(integers, m))(v, features, labels, initial)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            assert np.asarray(b).std() > 0
            np.testing.assert_array_equal(a, b)


def test_every_value_of_every_word_occurs():
    """A value of a field that no line above has was never compared."""
    written = "".join(LINES) + "power_of_two shift saturate away result no whole tensor"
    known = set(itertools.chain.from_iterable(values.words for values in FIELDS.values()))
    # Units and grids of LiteRT are compared with LiteRT itself, and read no other formats.
    litert = {"litert", "gemmlowp", "int8", "finest", "calibrated", "table512", "nearest256"}
    assert {word for word in known if word not in written} <= litert
