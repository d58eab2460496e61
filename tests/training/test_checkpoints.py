import jax
import numpy as np
import pytest

from rnnt_qat.infra.mesh import make_mesh, replicated
from rnnt_qat.training.checkpoints import Checkpoints, ConfigMismatchError, differing_fields
from tests.training.toy import create_state


@pytest.fixture
def state():
    return jax.jit(create_state)()


def shardings(state):
    return jax.tree.map(lambda _: replicated(make_mesh()), state)


def test_restores_state_and_position(tmp_path, state):
    checkpoints = Checkpoints(tmp_path, {"seed": 0})
    checkpoints.save(3, state, {"batch": 7})
    checkpoints.wait()
    restored = checkpoints.restore(3, jax.eval_shape(create_state), shardings(state))
    jax.tree.map(np.testing.assert_array_equal, restored.state, state)
    assert restored.iterator_state == {"batch": 7}
    checkpoints.close()


def test_keeps_the_last_and_the_best(tmp_path, state):
    checkpoints = Checkpoints(tmp_path, {}, keep_last=2)
    for step, wer in enumerate([0.9, 0.3, None, 0.5, None]):
        checkpoints.save(step, state, 0, wer)
    checkpoints.wait()
    assert checkpoints.best_step() == 1
    assert checkpoints.latest_step() == 4
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == [1, 3, 4]
    checkpoints.close()


def test_checkpoint_of_another_config_is_refused_by_field(tmp_path, state):
    saved = {"seed": 0, "model": {"width": 8, "layers": [1, 2]}}
    first = Checkpoints(tmp_path, saved)
    first.save(0, state, 0)
    first.close()
    second = Checkpoints(tmp_path, {"seed": 0, "model": {"width": 9, "layers": (1, 2)}})
    with pytest.raises(ConfigMismatchError, match=r"model\.width: 8 before, 9 now") as error:
        second.restore(0, state, shardings(state))
    assert "layers" not in str(error.value)
    assert "--workdir" in str(error.value)
    second.close()


def test_differing_fields_names_what_came_and_went():
    assert differing_fields({"a": 1, "b": {"c": 2}}, {"b": {"c": 2, "d": 3}}) == [
        "a: 1 before, not there now",
        "b.d: not there before, 3 now",
    ]
