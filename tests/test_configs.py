"""Every config file gives an experiment, whole after a round trip."""

import importlib.util
import pathlib

import pytest

from rnnt_qat.config import from_config_dict
from rnnt_qat.experiment_config import ExperimentConfig

CONFIGS = pathlib.Path(__file__).parents[1] / "experiments/configs"
VARIANTS = {"prompts": ["synthetic_only"], "librispeech": ["word_pieces", "by_speaker"]}
CASES = [
    (p.stem, variant)
    for p in CONFIGS.glob("[a-z]*.py")
    for variant in ["", *VARIANTS.get(p.stem, [])]
]


@pytest.mark.parametrize(("name", "variant"), sorted(CASES))
def test_config_is_an_experiment(name, variant):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = from_config_dict(ExperimentConfig, module.get_config(*([variant] if variant else [])))
    assert config.model.vocabulary == (config.data.sentencepiece or 29)
    assert config.stages.float_training.steps > 0
