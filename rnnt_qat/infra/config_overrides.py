"""Overrides of configs from the command line, by ``ml_collections.config_flags``.

Tuples of dataclasses that have a ``name`` field are lists in JSON and are addressed by name in
overrides: ``--config.stages.float.steps=3``. The field ``order`` holds their sequence:
``--config.stages.order=float,calibration`` omits the others.

Only programs parse overrides, so that this file, unlike ``config.py``, may need a package of the
extra ``train``.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import ml_collections

from rnnt_qat.infra.config import ConfigError, Json, from_json, to_json

Config = TypeVar("Config")

ORDER = "order"
"""Key of the order of a tuple of named dataclasses, in the mapping of those dataclasses."""


def config_dict(config: Any) -> ml_collections.ConfigDict:
    """Converts a dataclass to a ``ConfigDict`` for overrides by ``ml_collections.config_flags``."""
    return ml_collections.ConfigDict(_by_name(to_json(config)), convert_dict=True)


def config_of(variant: str, variants: Mapping[str, Callable[[], Any]]) -> ml_collections.ConfigDict:
    """Returns the ``config_dict`` of a config file's variant.

    Args:
      variant: name of the variant, the part after the colon in ``--config=FILE:VARIANT``.
      variants: functions that return the config, by name.

    Raises:
      ConfigError: if there is no such variant.
    """
    if variant not in variants:
        raise ConfigError(f"there is no variant {variant!r}; there are {', '.join(variants)}")
    return config_dict(variants[variant]())


def from_config_dict(cls: type[Config], config: ml_collections.ConfigDict) -> Config:
    """Converts a ``ConfigDict``, with overrides, back to a dataclass."""
    return from_json(cls, _in_order(config.to_dict(), ""))


def _by_name(value: Json) -> Json:
    """Converts lists to tuples, which config flags parse, or to mappings if elements are named."""
    if isinstance(value, Mapping):
        return {k: _by_name(v) for k, v in value.items()}
    if not isinstance(value, list):
        return value
    if not value or not all(isinstance(v, Mapping) and "name" in v for v in value):
        return tuple(_by_name(v) for v in value)
    named = {v["name"]: {k: _by_name(x) for k, x in v.items() if k != "name"} for v in value}
    for name in named:
        if not name.isidentifier() or name == ORDER:
            raise ConfigError(f"{name!r} cannot name a part of a config: take letters, digits, _")
    if len(named) < len(value):
        raise ConfigError(f"{', '.join(v['name'] for v in value)}: these names must all differ")
    return {ORDER: ",".join(named), **named}


def _in_order(value: Json, path: str) -> Json:
    """Reverts ``_by_name``."""
    if isinstance(value, Mapping):
        inner = {k: _in_order(v, f"{path}{k}.") for k, v in value.items()}
        if ORDER not in inner:
            return inner
        order = [name for name in inner.pop(ORDER).split(",") if name]
        for name in order:
            if name not in inner:
                raise ConfigError(f"{path}{ORDER}: no {name!r} here; there are {', '.join(inner)}")
        return [{"name": name, **inner[name]} for name in order]
    if isinstance(value, tuple | list):
        return [_in_order(v, path) for v in value]
    return value
