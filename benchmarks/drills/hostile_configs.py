"""Hostile configs: saved ones and overrides with a wrong value, field, type or structure."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drills.hostile import Drill, TakenSilentlyError, damage
from experiments.configs import prompts_smoke
from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.infra.config import ConfigError, from_json, to_json

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 10**30, 0.0, -0.5, 0.5, 1e300, math.nan, math.inf, -math.inf),
    *("", "abc", "100", "nan", "\x00", "../../etc", [], [1, 2], [""], {}, {"a": 1}),
    *({"type": "os:system"}, {"type": "rnnt_qat.models.rnnt:RNNTConfig"}, [[]], 2**63, -(2**40)),
)


@functools.cache
def _saved() -> str:
    return json.dumps(to_json(prompts_smoke.experiment()))


def check(rng: np.random.Generator, folder: Path) -> None:
    """Reads a saved config with one hostile change; what is taken must say what it was given."""
    kind = rng.integers(4)
    if kind == 0:  # the file itself is damaged
        path = folder / "config.json"
        path.write_bytes(damage(rng, _saved().encode()))
        try:
            data = json.loads(path.read_text("utf-8"))
        except ValueError as error:  # whoever reads the file names it: see "model directories"
            raise ConfigError(f"{path}: {error}") from error
        if not isinstance(data, dict):
            raise ConfigError(f"{path}: {type(data).__name__} is no config")
    else:
        data = json.loads(_saved())
    parent, key = _pick(rng, data)
    if kind == 1:
        parent[key] = VALUES[rng.integers(len(VALUES))]
    elif kind == 2 and isinstance(parent, dict):
        parent[f"{key}_"] = parent.pop(key)
    elif kind == 3 and isinstance(parent, dict):
        del parent[key]
    config = from_json(ExperimentConfig, data)
    again = to_json(config)
    if from_json(ExperimentConfig, json.loads(json.dumps(again))) != config:
        raise TakenSilentlyError(f"{key}: the config is not what is written of it")
    _require_given(data, again, "")


def _pick(rng: np.random.Generator, data: Any) -> tuple[Any, Any]:
    """A random place of nested dicts and lists."""
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        keys = node.keys() if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                visit(node[key])

    visit(data)
    return places[rng.integers(len(places))]


def _require_given(given: Any, taken: Any, path: str) -> None:
    """Every value that was given is in force."""
    if isinstance(given, dict) and isinstance(taken, dict):
        for key, value in given.items():
            if key in taken:
                _require_given(value, taken[key], f"{path}.{key}")
            elif key != "type":
                raise TakenSilentlyError(f"{path}.{key} was dropped")
    elif isinstance(given, list) and isinstance(taken, list) and len(given) == len(taken):
        for i, (a, b) in enumerate(zip(given, taken, strict=True)):
            _require_given(a, b, f"{path}[{i}]")
    elif isinstance(taken, float) and isinstance(given, int) and float(given) == taken:
        return  # the nearest float
    elif given != taken or isinstance(given, bool) != isinstance(taken, bool):
        raise TakenSilentlyError(f"{path}: {given!r} was taken as {taken!r}")
    elif isinstance(taken, float) and not math.isfinite(taken):
        raise TakenSilentlyError(f"{path}: {taken} was taken")


DRILL = Drill("configs", check, share=0.2)
