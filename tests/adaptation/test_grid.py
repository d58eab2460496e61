import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from rnnt_qat.adaptation.grid import BIASES, LAST_LAYER, SCALES, Grid, GridError
from rnnt_qat.export.freeze import laid_out
from rnnt_qat.export.thaw import thaw
from rnnt_qat.infra.errors import UserError
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.policies import policy_by_name
from tests.experiment import tiny


def frozen():
    return thaw(tiny.artefact().model, tiny.recognizer().policy)


def test_zeros_change_nothing_and_any_vector_is_a_legal_recognizer():
    transducer = frozen()
    grid = Grid.of(
        transducer.variables, tiny.recognizer().policy, (*BIASES, *SCALES, *LAST_LAYER), rank=2
    )
    assert grid.size() == 2 * 32 + 2 * 8 + 7 + 2 * (8 + 7) + 2 * 3 + 1  # biases, joint, scales
    assert grid.changed(grid.zeros()) == 0
    model = RNNT(transducer.model.config, tiny.recognizer().policy)
    for deviation in (0.1, 30.0, 1e9):
        rng = np.random.default_rng(0)
        vector = jax.tree.map(
            lambda x, rng=rng, d=deviation: jnp.asarray(d * rng.standard_normal(x.shape), "f"),
            grid.zeros(),
        )
        moved = grid.at(vector)
        for path, leaf in flatten_dict(grid.variables, sep="/").items():
            assert flatten_dict(moved, sep="/")[path].dtype == leaf.dtype
        laid_out(model, moved)  # checks limits of the runtimes
        assert grid.changed(vector) > 50


def test_changes_are_those_of_the_definition():
    variables = frozen().variables
    grid = Grid.of(variables, tiny.recognizer().policy, LAST_LAYER, rank=2, seed=1)
    rng = np.random.default_rng(0)
    vector = jax.tree.map(lambda x: 0.3 * rng.standard_normal(x.shape).astype("f"), grid.zeros())
    moved = grid.at(vector)["params"]["joint"]
    bias = np.asarray(variables["params"]["joint"]["bias"], np.int64)
    unit = np.sqrt(np.mean(bias.astype(np.float64) ** 2))
    expected = bias + np.round(unit * vector["params/joint/bias"])
    assert np.abs(np.asarray(moved["bias"]) - expected).max() <= 1  # float32's product
    w = np.asarray(variables["params"]["joint"]["kernel"], np.float64)
    a = np.random.default_rng(1).standard_normal((8, 2), np.float32)
    x = vector["params/joint/kernel"]
    change = np.sqrt(np.mean(w**2)) * (a + x["a"]) @ x["b"]
    far = np.abs(change % 1 - 0.5) > 1e-3
    expected = np.clip(w + np.round(change), -127, 127)
    assert np.array_equal(np.asarray(moved["kernel"])[far], expected[far])


def test_what_cannot_be_changed_is_named():
    variables = frozen().variables
    with pytest.raises(GridError, match="no variable matches 'params/joint/nothing'"):
        Grid.of(variables, tiny.recognizer().policy, ("params/joint/nothing",))
    with pytest.raises(GridError, match="the formats of stored tensors stay as they were"):
        Grid.of(variables, tiny.recognizer().policy, ("quant_stats/joint/logits",))


def test_narrow_kernels_stay_on_their_grid():
    """Seven is the largest weight of four bits; a word with flipped bits may hold more."""
    kernel = jnp.asarray([[7, -7], [3, 0]], jnp.int8)
    narrow = policy_by_name("ethos_u_8x8_16_w4")
    for held, largest in ((kernel, 7), (kernel.at[0, 0].set(64), 64)):
        variables = {"params": {"joint": {"kernel": held}}}
        grid = Grid.of(variables, narrow, ("params/joint/kernel",))
        vector = jax.tree.map(lambda x: x + 9.0, grid.zeros())
        moved = np.asarray(grid.at(vector)["params"]["joint"]["kernel"], np.int32)
        assert np.abs(moved).max() == largest
        assert grid.changed(grid.zeros()) == 0
    assert issubclass(GridError, UserError)
