import dataclasses

import jax
import numpy as np
import pytest

from rnnt_qat.objectives import RecurrentStates
from tests.objectives.forward_pass import CONFIG, batch, outputs, params

WIDE = dataclasses.replace(CONFIG, encoder=dataclasses.replace(CONFIG.encoder, hidden_size=9))
FRAMES = {"encoder/lstm_0/states": [10, 7, 4], "encoder/lstm_1/states": [5, 4, 2]}


def expected(state, student, teacher, project=lambda path, states: states):
    rows = np.zeros(3)
    for path, lengths in FRAMES.items():
        for row, length in enumerate(lengths):
            ours, theirs = (
                np.asarray(getattr(made.cells[path], state)[row, :length], np.float64)
                for made in (student, teacher)
            )
            rows[row] += ((project(path, ours) - theirs) ** 2).mean(-1).sum()
    return rows


@pytest.mark.parametrize("state", ["hidden", "cell"])
def test_it_is_the_distance_of_the_states_of_every_layer(state):
    student, teacher = outputs(params(0)), outputs(params(1))
    got = RecurrentStates(state)(student, teacher, batch(), 0)
    assert list(got) == [state]
    np.testing.assert_allclose(got[state], expected(state, student, teacher), rtol=1e-5)
    assert np.all(got[state] > 0)


@pytest.mark.parametrize("state", ["hidden", "cell"])
def test_states_are_projected_to_a_wider_teacher(state):
    config = dataclasses.replace(CONFIG, teacher_width=9)
    own = params(0, config)
    teacher = outputs(params(1, WIDE), WIDE)
    student = outputs(own, config)

    def project(path, states):
        kernel = own[f"state_projection_{list(FRAMES).index(path)}"][state]
        assert kernel.shape == (6, 9)
        return states @ np.asarray(kernel, np.float64)

    got = RecurrentStates(state)(student, teacher, batch(), 0)[state]
    np.testing.assert_allclose(got, expected(state, student, teacher, project), rtol=1e-5)


@pytest.mark.slow
def test_projections_and_the_encoder_learn():
    config = dataclasses.replace(CONFIG, teacher_width=9)
    teacher = outputs(params(1, WIDE), WIDE)

    def loss(p):
        made = outputs(p, config)
        terms = [RecurrentStates(s)(made, teacher, batch(), 0)[s].sum() for s in ("hidden", "cell")]
        return sum(terms)

    gradients = jax.jit(jax.grad(loss))(params(0, config))
    for network, tree in gradients.items():
        leaves = jax.tree.leaves(tree)
        assert all(np.isfinite(g).all() for g in leaves), network
        learns = any(np.any(g) for g in leaves)
        assert learns == (network.partition("_")[0] in ("encoder", "state")), network


def test_one_layer_can_be_named():
    student, teacher = outputs(params(0)), outputs(params(1))
    whole = RecurrentStates("cell")(student, teacher, batch(), 0)["cell"]
    parts = [
        RecurrentStates("cell", f"encoder/lstm_{n}/*")(student, teacher, batch(), 0)["cell"]
        for n in (0, 1)
    ]
    np.testing.assert_allclose(parts[0] + parts[1], whole, rtol=1e-6)
    labels = RecurrentStates("cell", "prediction/*")(student, teacher, batch(), 0)["cell"]
    assert np.all(labels > 0)


def test_what_has_no_counterpart_is_named():
    student, teacher = outputs(params(0)), outputs(params(1, WIDE), WIDE)
    with pytest.raises(ValueError, match=r"set model\.teacher_width to the width"):
        RecurrentStates()(student, teacher, batch(), 0)
    with pytest.raises(
        ValueError, match=r"'joint/\*' matches no LSTM of this model; there are enc"
    ):
        RecurrentStates(pattern="joint/*")(student, student, batch(), 0)
    fewer = dataclasses.replace(
        CONFIG, encoder=dataclasses.replace(CONFIG.encoder, num_layers=1, layers_before_reduction=0)
    )
    shallow = outputs(params(0, fewer), fewer)
    with pytest.raises(ValueError, match="the teacher has no LSTM 'encoder/lstm_1/states'"):
        RecurrentStates(pattern="encoder/lstm_1/*")(student, shallow, batch(), 0)
