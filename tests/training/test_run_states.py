"""The states of a run without the loop that updates them."""

import dataclasses

import jax
import numpy as np
import pytest

from rnnt_qat.infra.mesh import make_mesh
from rnnt_qat.training.checkpoints import Checkpoints, DamagedCheckpointError
from rnnt_qat.training.plan import bind
from rnnt_qat.training.run_states import RunStates
from tests.training.toy import ToyTask, create_state, plan

STAGES = plan(30, 4, 16)


@pytest.fixture
def run(tmp_path):
    """States, the checkpoints of each stage, and the lines said."""
    stages, said = bind(STAGES, ToyTask()), []
    checkpoints = [Checkpoints(tmp_path / stage.name, {"seed": 0}) for stage in stages]
    states = RunStates(stages, create_state, checkpoints, make_mesh(), 2**24, said.append)
    yield states, checkpoints, said
    for of_stage in checkpoints:
        of_stage.close()


def weighing(state, weight):
    """The state with all its parameters equal to a number."""
    params = {
        name: jax.tree.map(lambda p: weight + 0 * p, getattr(state, name))
        for name in ("params", "ema_params")
    }
    return dataclasses.replace(state, **params)


def saved(states, checkpoints, wers):
    """Saves states of the float stage that weigh their step; returns the last one."""
    state = states.begin(0, states.initial())
    for step, wer in wers.items():
        state = weighing(states.at_step(state, step), float(step))
        checkpoints[0].save(step, state, {"batch": step}, wer)
    checkpoints[0].wait()
    return state


def weights(tree):
    return {float(x) for leaf in jax.tree.leaves(tree) for x in np.asarray(leaf).flat}


def damage(checkpoints, step):
    files = (checkpoints.directory / str(step) / "state").rglob("*")
    for file in [p for p in files if p.is_file()]:
        file.write_bytes(b"")


def test_without_checkpoints_a_run_has_its_initial_state_only(run):
    states, _, said = run
    assert states.newest() is None
    assert list(states.best()) == []
    jax.tree.map(np.testing.assert_array_equal, states.initial().params, create_state().params)
    assert (states.first_steps, said) == ([0, 30, 34, 50], [])


def test_a_stage_begins_with_the_best_parameters_of_the_one_before_and_the_last_counters(run):
    states, checkpoints, said = run
    last = saved(states, checkpoints, {10: 0.2, 20: 0.1, 30: 0.3})
    begun = states.begin(1, last)
    assert weights((begun.params, begun.ema_params)) == {20.0}
    assert int(begun.step) == 30
    assert said == ["going on from float step 20, its best"]


def test_a_stage_whose_last_state_is_its_best_hands_that_over(run):
    states, checkpoints, said = run
    begun = states.begin(1, saved(states, checkpoints, {20: 0.2, 30: 0.1}))
    assert (weights(begun.params), said) == ({30.0}, [])


def test_the_newest_state_is_of_the_last_stage_begun_in_its_own_structure(run):
    states, checkpoints, _ = run
    last = saved(states, checkpoints, {20: 0.1, 30: 0.2})
    index, restored = states.newest()
    assert (index, restored.step, restored.iterator_state) == (0, 30, {"batch": 30})
    calibrating = states.at_step(states.begin(1, last), 32)
    checkpoints[1].save(32, calibrating, {"batch": 32})
    checkpoints[1].wait()
    index, restored = states.newest()
    assert (index, restored.step) == (1, 32)
    assert jax.tree.structure(restored.state) == jax.tree.structure(calibrating)
    assert jax.tree.structure(restored.state) != jax.tree.structure(last)
    assert [(b.stage, b.step, b.wer) for b in states.best()] == [
        ("float", 20, 0.1),
        ("calibration", 32, None),
    ]


def test_damage_costs_the_newest_state_but_never_silently_the_best(run):
    states, checkpoints, said = run
    last = saved(states, checkpoints, {10: 0.1, 20: 0.2, 30: 0.3})
    damage(checkpoints[0], 30)
    _, restored = states.newest()
    assert (restored.step, weights(restored.state.params)) == (20, {20.0})
    (line,) = said
    assert line.startswith("warning: ")
    assert line.endswith("The run goes on from the checkpoint before it")
    damage(checkpoints[0], 10)
    with pytest.raises(DamagedCheckpointError, match="the best state of the stage float"):
        states.begin(1, last)
