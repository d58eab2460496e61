"""What a run keeps beside its checkpoints, and reads again when it goes on."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.configs import prompts_smoke
from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.experiment.run_files import RunFiles, WorkdirError
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import to_json
from rnnt_qat.training.checkpoints import ConfigMismatchError

CONFIG: ExperimentConfig = prompts_smoke.experiment()
BINS = CONFIG.frontend.log_mel.num_mel_bins
STATS = FeatureStats(np.linspace(-1, 1, BINS, dtype="f"), np.full(BINS, 1.5, "f"))


def claimed(workdir, stats=STATS):
    files = RunFiles(workdir)
    files.claim(CONFIG, stats)
    return files


def with_checkpoint(workdir):
    (workdir / "checkpoints/0_float/10").mkdir(parents=True)


def test_a_run_reads_again_what_it_has_written(tmp_path):
    files = claimed(tmp_path)
    with_checkpoint(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == to_json(CONFIG)
    assert "command" in json.loads((tmp_path / "provenance.json").read_text())
    assert files.require_same_run(CONFIG) == []
    found = files.frontend(CONFIG.frontend)
    assert found.config == CONFIG.frontend
    np.testing.assert_array_equal(found.stats.mean, STATS.mean)
    np.testing.assert_array_equal(found.stats.std, STATS.std)


def test_what_no_parameter_depends_on_may_differ_and_is_listed(tmp_path):
    files = claimed(tmp_path)
    with_checkpoint(tmp_path)
    loop = dataclasses.replace(CONFIG.loop, log_every=CONFIG.loop.log_every + 1)
    (line,) = files.require_same_run(dataclasses.replace(CONFIG, loop=loop))
    assert line == f"loop.log_every: {CONFIG.loop.log_every} before, {loop.log_every} now"
    with pytest.raises(ConfigMismatchError, match=r"\n  seed: 0 before, 1 now\n"):
        files.require_same_run(dataclasses.replace(CONFIG, seed=1, loop=loop))


def test_without_checkpoints_nothing_is_taken_over(tmp_path):
    files = claimed(tmp_path)
    assert files.require_same_run(dataclasses.replace(CONFIG, seed=1)) == []
    assert files.frontend(CONFIG.frontend) is None


def test_statistics_of_another_model_are_not_written(tmp_path):
    files = claimed(tmp_path, stats=None)
    with_checkpoint(tmp_path)
    assert not (tmp_path / "feature_stats.json").exists()
    assert files.frontend(CONFIG.frontend) is None


def test_damaged_files_are_named_with_a_mend(tmp_path):
    files = claimed(tmp_path)
    with_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text('{"seed": 0')
    with pytest.raises(WorkdirError, match=r"/config\.json is damaged .*: delete it"):
        files.require_same_run(CONFIG)
    (tmp_path / "feature_stats.json").write_text("{}")
    with pytest.raises(WorkdirError, match=r"/feature_stats\.json is damaged .*: copy it from"):
        files.frontend(CONFIG.frontend)


def test_models_lie_where_they_are_looked_for(tmp_path):
    assert RunFiles(tmp_path).model_directory("aware") == tmp_path / "models/aware"
