"""Names of model directories, and the policies that they hold."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from experiments.configs import prompts_smoke
from rnnt_qat.experiment.recognizer import ModelDirectoryError, Recognizer, name_models
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.policy import Rule
from rnnt_qat.quant.precision import Float32
from rnnt_qat.quant.quantized_module import calibrated_ranges


@pytest.mark.parametrize(
    ("directories", "names"),
    [
        (["/w/a/models/float"], ["a/models/float"]),
        (["/w/a/models/float", "/w/a/models/aware"], ["a/models/float", "a/models/aware"]),
        (["/w/a/models/float", "/w/b/c/models/aware"], ["a/models/float", "b/c/models/aware"]),
        (["/model", "/m/aware"], ["model", "m/aware"]),
    ],
)
def test_models_are_named_by_what_tells_them_apart(directories, names):
    assert list(name_models([pathlib.Path(d) for d in directories])) == names


def test_paths_may_be_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = name_models([pathlib.Path("run/models/float")])
    assert named == {"run/models/float": tmp_path / "run/models/float"}


def recognizer(line):
    """Zeros under a policy."""
    config, policy = prompts_smoke.experiment(), policy_by_name(line)
    inputs = example_inputs(config.model, config.frontend.feature_size)
    model = RNNT(config.model, policy.calibration())
    variables = dict(jax.eval_shape(model.init, jax.random.key(0), *inputs))
    variables = calibrated_ranges(variables)
    bins = config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.zeros(bins, np.float32), np.ones(bins, np.float32))
    return Recognizer(
        config=config,
        policy=policy,
        variables=jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables),
        frontend=Frontend(config.frontend, stats),
        tokenizer=CharacterTokenizer(),
    )


LINE = "ethos_u_8x8_16{cell.frac=10}[encoder/*:weights=4, joint:observer=mse]+unit_slope+lsq"


def edit(directory, change):
    path = directory / "recognizer.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_a_directory_holds_its_policys_rules(tmp_path):
    saved = recognizer(LINE)
    saved.save(tmp_path)
    assert Recognizer.load(tmp_path).policy == saved.policy
    edit(tmp_path, lambda manifest: manifest.update(policy="generic_nna"))
    with pytest.raises(ModelDirectoryError, match="policy is 'generic_nna', but policy_rules"):
        Recognizer.load(tmp_path)


@pytest.mark.parametrize("line", ["encoder_w4_joint_w8", "ethos_u_16x8_w4@joint+mse"])
def test_a_directory_with_a_name_alone_is_still_read(tmp_path, line):
    recognizer(line).save(tmp_path)
    edit(tmp_path, lambda manifest: manifest.pop("policy_rules"))
    assert Recognizer.load(tmp_path).policy == policy_by_name(line)


def test_a_policy_that_cannot_be_written_down_is_not_saved(tmp_path):
    made = recognizer("generic_nna")
    policy = dataclasses.replace(made.policy, rules=(Rule("*", Float32()),))
    with pytest.raises(ValueError, match="not what its name builds"):
        dataclasses.replace(made, policy=policy).save(tmp_path)
    assert not (tmp_path / "recognizer.json").exists()
