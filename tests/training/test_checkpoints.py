import shutil

import jax
import numpy as np
import pytest

from rnnt_qat.infra.mesh import make_mesh, replicated
from rnnt_qat.training.checkpoints import (
    CHECKSUMS,
    Checkpoints,
    ConfigMismatchError,
    DamagedCheckpointError,
    differing_fields,
)
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


def test_of_equal_ones_the_best_is_the_one_that_is_kept(tmp_path, state):
    checkpoints = Checkpoints(tmp_path, {}, keep_last=2)
    for step, wer in enumerate([0.5, 0.3, 0.3]):
        checkpoints.save(step, state, 0, wer)
    checkpoints.wait()
    assert checkpoints.best_step() == 2
    for step, wer in [(3, 0.5), (4, 0.5)]:
        checkpoints.save(step, state, 0, wer)
    checkpoints.wait()
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == [2, 3, 4]
    assert checkpoints.best_step() == 2
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


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two steps of a stage, measured 0.5 and 0.4."""
    directory = tmp_path_factory.mktemp("saved") / "0_float"
    checkpoints = Checkpoints(directory, {"seed": 0})
    for step, wer in ((1, 0.5), (2, 0.4)):
        checkpoints.save(step, jax.jit(create_state)(), {"batch": step}, wer)
    checkpoints.close()
    return directory


@pytest.fixture
def stage(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "0_float")


def test_steps_without_metrics_are_ignored(stage):
    # What is left when a kill comes while a step is being deleted file by file.
    shutil.rmtree(stage / "2/metrics")
    checkpoints = Checkpoints(stage, {"seed": 0})
    assert (checkpoints.best_step(), checkpoints.latest_step()) == (1, 1)
    assert "incomplete (metrics/metrics is missing)" in checkpoints.set_aside[0]
    assert not (stage / "2").exists()
    checkpoints.close()


def test_metrics_that_go_away_later_are_none(stage):
    checkpoints = Checkpoints(stage, {"seed": 0})
    shutil.rmtree(stage / "2/metrics")
    assert checkpoints.wer(2) is None
    assert checkpoints.best_step() == 1
    checkpoints.close()


def test_what_a_killed_process_left_is_cleared(stage):
    shutil.copytree(stage / "2", stage / "3.orbax-checkpoint-tmp-0")
    shutil.copytree(stage / "2", stage / ".deleting/1")
    checkpoints = Checkpoints(stage, {"seed": 0})
    assert sorted(p.name for p in stage.iterdir()) == ["1", "2"]
    assert checkpoints.set_aside == []
    checkpoints.close()


def largest(step):
    return max(
        (p for p in (step / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )


def shorten(step):
    with largest(step).open("r+b") as file:
        file.truncate(10)


def zero(step):
    largest(step).write_bytes(bytes(largest(step).stat().st_size))


def flip(step):
    content = bytearray(largest(step).read_bytes())
    content[len(content) // 2] ^= 1
    largest(step).write_bytes(content)


def empty_metadata(step):
    (step / "state/_METADATA").write_bytes(b"")


def no_iterator(step):
    (step / "iterator/metadata").unlink()


def empty_config(step):
    (step / "config/metadata").write_bytes(b"")


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("damage", [shorten, zero, flip, empty_metadata, no_iterator, empty_config])
def test_damage_is_noticed_and_named(stage, damage, sealed, state):
    if not sealed:  # written by a version without checksums: Orbax notices all but flipped bits
        (stage / "2" / CHECKSUMS).unlink()
        if damage is flip:
            return
    damage(stage / "2")
    checkpoints = Checkpoints(stage, {"seed": 0})
    template = jax.eval_shape(create_state)
    with pytest.raises(DamagedCheckpointError, match=r"0_float/2 is damaged: "):
        checkpoints.restore(2, template, shardings(state))
    moved = checkpoints.discard(2)
    assert moved == stage.parent / "damaged/0_float_2"
    assert checkpoints.latest_step() == checkpoints.best_step() == 1
    restored = checkpoints.restore(1, template, shardings(state))
    assert restored.iterator_state == {"batch": 1}
    checkpoints.save(2, state, {"batch": 2}, 0.3)
    checkpoints.wait()
    assert checkpoints.best_step() == 2
    checkpoints.close()


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b'{"wer": 0.1}'])
def test_damaged_metrics_select_no_step(stage, damage):
    (stage / "1/metrics/metrics").write_bytes(damage)
    checkpoints = Checkpoints(stage, {"seed": 0})
    assert checkpoints.best_step() == 2
    assert "damaged" in checkpoints.set_aside[0]
    checkpoints.close()
