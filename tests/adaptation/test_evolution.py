import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.adaptation.evolution import EvolutionConfig, evolve
from rnnt_qat.adaptation.grid import Grid
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.infra.errors import UserError
from rnnt_qat.quant.policies import policy_by_name

BIAS = jnp.asarray([400, -300, 200, 100, -50, 25, 0, 500], jnp.int32)
GOAL = np.array([520, -310, 90, 180, -150, 25, 60, 420])
VARIABLES = {
    "params": {"layer": {"bias": BIAS, "kernel": jnp.ones((3, 8), jnp.int8)}},
}
GRID = Grid.of(VARIABLES, policy_by_name("ethos_u_8x8_16"), ("params/layer/bias",))
CONFIG = EvolutionConfig(generations=60, population=16, deviation=0.2, at_once=4)


def distance(variables):
    return jnp.mean(jnp.square((variables["params"]["layer"]["bias"] - GOAL) / 100.0))


@pytest.mark.slow
def test_the_devices_of_a_program_can_be_chosen_after_its_imports():
    """evosax computes on import, after which ``--cpu_devices`` would come too late."""
    code = (
        "import jax, experiments.adapt; jax.config.update('jax_num_cpu_devices', 2); "
        "assert jax.device_count() == 2"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_quadratic_is_minimised_on_the_grid():
    found = evolve(GRID, distance, CONFIG)
    assert len(found.losses) == CONFIG.generations + 1
    assert found.losses[0] == pytest.approx(float(distance(VARIABLES)))
    assert found.best < 0.02 * found.losses[0]
    moved = GRID.at(found.vector)["params"]["layer"]["bias"]
    assert moved.dtype == jnp.int32
    assert float(distance({"params": {"layer": {"bias": moved}}})) == pytest.approx(found.best)
    assert np.abs(moved - GOAL).max() < 40


def test_nothing_becomes_worse_than_it_was():
    def far(variables):  # the unchanged model is the best there is
        return jnp.mean(jnp.square(variables["params"]["layer"]["bias"] - BIAS).astype(jnp.float32))

    found = evolve(GRID, far, dataclasses.replace(CONFIG, generations=3))
    assert found.best == 0
    assert GRID.changed(found.vector) == 0


def test_an_interrupted_search_goes_on_to_the_same_result(tmp_path):
    whole = evolve(GRID, distance, dataclasses.replace(CONFIG, generations=8))
    evolve(GRID, distance, dataclasses.replace(CONFIG, generations=3), folder=tmp_path)
    rest = evolve(GRID, distance, dataclasses.replace(CONFIG, generations=8), folder=tmp_path)
    assert rest.losses == whole.losses
    assert jax.tree.all(jax.tree.map(np.array_equal, rest.vector, whole.vector))
    other = dataclasses.replace(CONFIG, seed=1)
    with pytest.raises(ConfigError, match="another search"):
        evolve(GRID, distance, other, folder=tmp_path)
    with pytest.raises(ConfigError, match="another search"):
        evolve(GRID, distance, CONFIG, "other speech", folder=tmp_path)


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(UserError, match="the loss of what is adapted is nan"):
        evolve(GRID, lambda variables: distance(variables) * jnp.nan, CONFIG)
