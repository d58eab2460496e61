import jax
import numpy as np
import pytest

from rnnt_qat.objectives import CellGrowth
from tests.objectives.forward_pass import batch, outputs, params


def grown(factor=3.0):
    """Parameters whose cells grow: the forget gates are open, and all else is larger."""
    return jax.tree.map(lambda p: factor * p, params())


def test_it_is_the_squared_excess_of_every_layers_cells():
    made, limit = outputs(grown()), 0.5
    assert list(made.cells) == [
        "encoder/lstm_0/states", "encoder/lstm_1/states", "prediction/lstm_0/states"
    ]  # fmt: skip
    lengths = ([10, 7, 4], [5, 4, 2], [5, 3, 2])  # frames, reduced frames, labels and the start
    expected = np.zeros(3)
    for states, of_layer in zip(made.cells.values(), lengths, strict=True):
        for row, length in enumerate(of_layer):
            cells = np.abs(np.asarray(states.cell[row, :length]))
            expected[row] += (np.maximum(cells - limit, 0) ** 2).mean(-1).sum()
    term = CellGrowth(limit)(made, None, batch(), 0)["cells"]
    np.testing.assert_allclose(term, expected, rtol=1e-5)
    assert expected.min() > 0


def test_cells_within_the_limit_cost_nothing():
    assert not np.any(CellGrowth(limit=100.0)(outputs(grown()), None, batch(), 0)["cells"])


def test_descent_makes_cells_smaller():
    def loss(p):
        return CellGrowth(0.5)(outputs(p), None, batch(), 0)["cells"].sum()

    begun = grown()
    value, gradients = jax.jit(jax.value_and_grad(loss))(begun)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    square = sum(float((g**2).sum()) for g in jax.tree.leaves(gradients))
    step = 0.01 * value / square  # to first order, a hundredth less
    moved = jax.tree.map(lambda p, g: p - step * g, begun, gradients)
    np.testing.assert_allclose(jax.jit(loss)(moved), 0.99 * value, rtol=2e-3)


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match="limit is -1"):
        CellGrowth(-1)
