"""Every config file gives an experiment, whole after a round trip."""

import importlib.util
import json
import pathlib

import jax
import pytest

from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.infra.config import from_json, to_json
from rnnt_qat.infra.config_overrides import from_config_dict
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.training.state import parameter_count

CONFIGS = pathlib.Path(__file__).parents[1] / "experiments/configs"
GOLDEN = pathlib.Path(__file__).parent / "golden/configs"
VARIANTS = {
    "prompts": ["synthetic_only"],
    "assistant": [
        "short",
        "gpu",
        "gpu_short",
        "chip",
        "digits",
        "digits_chip",
        "telephone",
    ],
    "own_speech": ["quick"],
    "on_chip": ["synthetic_only"],
    "long_streams": ["alone"],
    "healing": ["crude_annealed", "crude_small_cells", "w2_lsq"],
    "taught": ["w2", "crude_alone"],
    "pruned": ["zeros_50", "w4_zeros_80", "columns_50", "units_50"],
    "precision_schedule": ["at_once", "by_error", "products", "products_at_once"],
    "librispeech": ["word_pieces", "by_speaker", "fine_tune"],
}
CASES = [
    (p.stem, variant)
    for p in CONFIGS.glob("[a-z]*.py")
    for variant in ["", *VARIANTS.get(p.stem, [])]
]


def experiment(name, variant=""):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return from_config_dict(ExperimentConfig, module.get_config(*([variant] if variant else [])))


def shapes(config):
    """Parameters of the experiment's model; none is made."""
    model = RNNT(config.model, FLOAT32)
    inputs = example_inputs(config.model, config.frontend.feature_size)
    return jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]


@pytest.mark.parametrize(("name", "variant"), sorted(CASES))
def test_config_is_an_experiment(name, variant):
    config = experiment(name, variant)
    assert config.model.vocabulary == (config.data.sentencepiece or 29)
    assert config.initialize_from or config.stage("float").steps > 0


@pytest.mark.parametrize(("name", "variant"), sorted(CASES))
def test_speech_is_trained_on_at_other_levels(name, variant):
    """All but the smoke tests and the first minutes of ``assistant``."""
    augmentation = experiment(name, variant).pipeline.augmentation
    low, high = augmentation.gain_db
    plain = (name, variant) in {
        ("prompts_smoke", ""),
        ("own_speech", "quick"),
        ("assistant", "short"),
        ("assistant", "gpu_short"),
    }
    assert (low, high) == (0, 0) if plain else low <= -12 < 6 <= high
    assert (augmentation.offset > 0) != plain


def test_fine_tuning_takes_the_shipped_model():
    config = experiment("librispeech", "fine_tune")
    manifest = CONFIGS.parents[1] / "data/pretrained/assistant/recognizer.json"
    shipped = from_json(ExperimentConfig, json.loads(manifest.read_text())["config"])
    assert config.model == shipped.model
    assert config.frontend == shipped.frontend


@pytest.mark.parametrize(("name", "variant"), sorted(CASES))
def test_config_resolves_to_what_it_did(name, variant):
    """A default that changes changes every run: ``tests/golden/make_configs.py`` writes it down."""
    path = GOLDEN / f"{name}{'-' if variant else ''}{variant}.json"
    resolved = json.loads(json.dumps(to_json(experiment(name, variant))))
    assert resolved == json.loads(path.read_text())


def lstm(inputs, hidden):
    return 4 * hidden * (inputs + hidden + 1)


@pytest.mark.parametrize(
    ("variant", "vocabulary", "embedding", "prediction", "millions"),
    [("full_960", 29, 320, 320, 45), ("word_pieces", 2500, 512, 1024, 61)],
)
def test_sizes_of_the_published_models(variant, vocabulary, embedding, prediction, millions):
    """MLPerf's RNN-T (2 and 3 layers of 1024, 2 of 320, joint of 512), and a wider one."""
    params = shapes(experiment("librispeech", variant))
    encoder = lstm(240, 1024) + 3 * lstm(1024, 1024) + lstm(2048, 1024)
    said = vocabulary * embedding + lstm(embedding, prediction) + lstm(prediction, prediction)
    joint = 512 * (1024 + 1 + prediction + 1 + vocabulary) + vocabulary
    served = {name: leaf for name, leaf in params.items() if name != "ctc"}
    assert parameter_count(served) == encoder + said + joint
    assert round(parameter_count(served) / 1e6) == millions
