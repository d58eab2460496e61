"""Model directories: their names, the policies that they hold, what is said of damaged ones."""

import dataclasses
import errno
import json
import os
import shutil
from unittest.mock import Mock

import jax
import numpy as np
import pytest

from experiments.configs import prompts_smoke
from rnnt_qat.experiment.recognizer import (
    ModelDirectoryError,
    Recognizer,
    find_models,
    name_models,
)
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.policy import Rule
from rnnt_qat.quant.precision import Float32
from rnnt_qat.quant.quantized_module import QUANT_STATS, calibrated_ranges


@pytest.mark.parametrize(
    ("directories", "names"),
    [
        (["/w/a/models/float"], ["a/models/float"]),
        (["/w/a/models/float", "/w/a/models/aware"], ["a/models/float", "a/models/aware"]),
        (["/w/a/models/float", "/w/b/c/models/aware"], ["a/models/float", "b/c/models/aware"]),
        (["/model", "/m/aware"], ["model", "m/aware"]),
        (["s3://b/a/models/float", "s3://b/a/models/w8"], ["a/models/float", "a/models/w8"]),
    ],
)
def test_models_are_named_by_what_tells_them_apart(directories, names):
    assert name_models(directories) == dict(zip(names, directories, strict=True))


def test_paths_may_be_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert name_models(["run/models/float"]) == {"run/models/float": "run/models/float"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    config = prompts_smoke.experiment()
    bins = config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.zeros(bins, np.float32), np.ones(bins, np.float32))
    inputs = example_inputs(config.model, config.frontend.feature_size)
    params = jax.jit(RNNT(config.model, FLOAT32).init)(jax.random.key(0), *inputs)["params"]
    directory = tmp_path_factory.mktemp("run") / "models/float"
    Recognizer(
        config,
        FLOAT32,
        {"params": params, QUANT_STATS: {}},
        Frontend(config.frontend, stats),
        CharacterTokenizer(),
        {"stage": "float", "step": 3, "wer": 0.5},
    ).save(directory)
    return directory


@pytest.fixture
def model(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "models/float")


def test_a_saved_model_is_loaded_with_and_without_checksums(model):
    loaded = Recognizer.load(model)
    assert loaded.origin["step"] == 3
    manifest = json.loads((model / "recognizer.json").read_text())
    del manifest["sha256"]  # as former versions wrote it
    (model / "recognizer.json").write_text(json.dumps(manifest))
    before, after = (jax.tree.leaves(r.variables) for r in (loaded, Recognizer.load(model)))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_that_was_never_finished_is_none(model):
    os.rename(model, model.with_name(".float.partial"))
    with pytest.raises(ModelDirectoryError, match="holds no models"):
        find_models(model.parents[1])


@pytest.mark.parametrize(
    ("damage", "checked"),
    # Without checksums, as former versions wrote it, a flipped bit may be a legal value.
    [(d, c) for d in ("short", "zeroed", "empty", "missing") for c in (True, False)]
    + [("flipped", True)],
)
@pytest.mark.parametrize(
    "name", ["variables.npz", "feature_stats.json", "tokenizer.json", "recognizer.json"]
)
def test_a_damaged_file_is_named(model, name, damage, checked):
    if not checked:
        manifest = json.loads((model / "recognizer.json").read_text())
        del manifest["sha256"]
        (model / "recognizer.json").write_text(json.dumps(manifest))
    path = model / name
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    made = {
        "short": content[: len(content) // 2],
        "zeroed": bytes(len(content)),
        "empty": b"",
        "flipped": bytes(flipped),
    }
    path.unlink() if damage == "missing" else path.write_bytes(made[damage])
    with pytest.raises(ModelDirectoryError, match=name) as error:
        Recognizer.load(model)
    assert str(model) in str(error.value)
    if (name, damage) != ("recognizer.json", "missing"):
        assert "delete it" in str(error.value)


@pytest.mark.parametrize(
    "error",
    [MemoryError("8 GB"), OSError(errno.EMFILE, "open files"), PermissionError(errno.EACCES, "no")],
)
def test_what_the_machine_lacks_is_not_blamed_on_a_file(model, error, monkeypatch):
    monkeypatch.setattr(np, "load", Mock(side_effect=error))
    with pytest.raises(type(error)) as raised:
        Recognizer.load(model)
    assert raised.value is error


@pytest.mark.parametrize(
    ("entry", "value"), [("config", 3), ("policy", None), ("origin", []), ("sha256", 7)]
)
def test_a_manifest_of_wrong_types_is_refused(model, entry, value):
    manifest = json.loads((model / "recognizer.json").read_text()) | {entry: value}
    (model / "recognizer.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelDirectoryError, match=r"recognizer\.json is damaged"):
        Recognizer.load(model)


def test_a_manifest_of_an_unknown_policy_is_named(model):
    manifest = json.loads((model / "recognizer.json").read_text()) | {"policy": "w9a9"}
    del manifest["sha256"], manifest["policy_rules"]
    (model / "recognizer.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=r"(?s)recognizer.json: .*unknown .* 'w9a9'"):
        Recognizer.load(model)


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
    del manifest["sha256"]
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
