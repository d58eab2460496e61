import dataclasses
import json
from typing import Literal

import pytest

from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.infra.config import ConfigError, from_json, to_json, upgraded
from rnnt_qat.infra.config_overrides import config_dict, from_config_dict
from rnnt_qat.models.prediction import StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.training.plan import default_stages
from rnnt_qat.training.stages import Stage

MODEL = RNNTConfig(29, prediction=StatelessPredictionConfig(context=3))
EVALUATION = EvaluationConfig(GreedyConfig(), (80.0, 0.0))


@dataclasses.dataclass(frozen=True)
class Example:
    stages: tuple[Stage, ...] = dataclasses.field(default_factory=default_stages)
    model: RNNTConfig = MODEL
    evaluation: EvaluationConfig = EVALUATION
    decay: Literal["cosine", "linear"] = "linear"
    rate: float = 2.0
    seed: int = 0


def test_survives_json():
    data = json.loads(json.dumps(to_json(Example())))
    assert from_json(Example, data) == Example()
    assert data["model"]["prediction"]["type"].endswith("prediction:StatelessPredictionConfig")
    assert "type" not in data["model"]


def test_overrides_come_back_as_the_dataclass():
    config = config_dict(Example())
    config.stages.float.optimizer.learning_rate = 1e-2
    config.evaluation.chunk_ms = (240, 640)
    config.rate = 3
    got = from_config_dict(Example, config)
    assert got.stages[0].optimizer.learning_rate == 1e-2
    assert got.evaluation.chunk_ms == (240.0, 640.0)
    assert got.rate == 3.0
    assert isinstance(got.model.prediction, StatelessPredictionConfig)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("stages.0.steps", "many", r"stages\[0\]\.steps: 'many' is not of"),
        ("stages.0.stps", 3, r"did you mean 'stages\[0\]\.steps'\?"),
        ("rate", 0.5, None),
        ("decay", "cosin", r"decay: 'cosin' is not of"),
        (
            "model.encoder.layers_before_reduction",
            7,
            r"model\.encoder: .*layers_before_reduction=7",
        ),
        ("model.prediction.type", "os:environ", "no config class 'os:environ'"),
        ("model.prediction.type", "rnnt_qat.infra.config:to_json", "is not a config class"),
    ],
)
def test_misfits_are_named(path, value, message):
    data = to_json(Example())
    node = data
    *parents, last = path.split(".")
    for name in parents:
        node = node[int(name) if name.isdigit() else name]
    node[last] = value
    if message is None:
        assert from_json(Example, data).rate == value
    else:
        with pytest.raises(ConfigError, match=message):
            from_json(Example, data)


def test_missing_field_takes_its_default_or_is_named():
    data = to_json(Example(rate=3.0))
    del data["stages"], data["model"]["encoder"]["dropout_rate"]
    assert from_json(Example, data) == Example(rate=3.0)
    del data["model"]["vocabulary"]
    with pytest.raises(ConfigError, match=r"model\.vocabulary: missing, and there is no default"):
        from_json(Example, data)


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    count: int = 1


@dataclasses.dataclass(frozen=True)
class Recipe:
    steps: tuple[Step, ...] = (Step("stir"), Step("bake", 40))
    tags: tuple[str, ...] = ()

    @classmethod
    def upgrade(cls, data):
        data = dict(data)
        return {"tags": data.pop("labels"), **data} if "labels" in data else data


def test_a_class_reads_what_earlier_versions_wrote():
    assert from_json(Recipe, {"labels": ["a"]}) == Recipe(tags=("a",))
    assert upgraded(Recipe, {"labels": ["a"], "steps": []}) == {"steps": [], "tags": ["a"]}


def test_named_parts_are_overridden_by_name_and_ordered_by_a_field(monkeypatch):
    monkeypatch.setattr("rnnt_qat.infra.config._PACKAGE", "tests")
    config = config_dict(Recipe())
    assert from_config_dict(Recipe, config) == Recipe()
    config.steps.bake.count = 50
    assert from_config_dict(Recipe, config).steps == (Step("stir"), Step("bake", 50))
    config.steps.order = "bake,stir,bake"
    assert [s.name for s in from_config_dict(Recipe, config).steps] == ["bake", "stir", "bake"]
    config.steps.order = "fry"
    with pytest.raises(ConfigError, match=r"steps\.order: no 'fry' here; there are bake, stir"):
        from_config_dict(Recipe, config)


@pytest.mark.parametrize("names", [("a", "a"), ("order",), ("two words",)])
def test_names_that_cannot_address_a_part_are_refused(names):
    with pytest.raises(ConfigError):
        config_dict(Recipe(tuple(map(Step, names))))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(ConfigError, match=r"rate: .* not finite"):
        from_json(Example, to_json(Example()) | {"rate": value})


@pytest.mark.parametrize("field", ["rate", "seed", "decay"])
@pytest.mark.parametrize("value", [{}, {"a": 1}, {"type": 5}, {"type": []}])
def test_a_mapping_where_none_belongs_is_refused(value, field):
    with pytest.raises(ConfigError, match=field):
        from_json(Example, to_json(Example()) | {field: value})


@pytest.mark.parametrize("value", [{}, {"a": 1}, {"type": 5}, {"type": []}])
def test_a_mapping_that_names_no_class_of_a_union_is_refused(value):
    data = to_json(Example())
    data["model"]["prediction"] = value
    with pytest.raises(ConfigError, match=r"model\.prediction"):
        from_json(Example, data)
