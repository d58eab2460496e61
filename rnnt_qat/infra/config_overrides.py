"""Overrides of configs from the command line, by ``ml_collections.config_flags``.

Tuples of dataclasses that have a ``name`` field are lists in JSON and are addressed by name in
overrides: ``--config.stages.float.steps=3``. The field ``order`` holds their sequence:
``--config.stages.order=float,calibration`` omits the others.

Only programs parse overrides, so that this file, unlike ``config.py``, may need a package of the
extra ``train``.
"""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import ml_collections

from rnnt_qat.infra.config import ConfigError, Json, from_json, to_json

Config = TypeVar("Config")

ORDER = "order"
"""Key of the order of a tuple of named dataclasses, in the mapping of those dataclasses."""


def config_dict(config: Any) -> ml_collections.ConfigDict:
    """Converts a dataclass to a ``ConfigDict`` for overrides by ``ml_collections.config_flags``."""
    fields = to_json(config)
    _leave_open(config, fields)
    return ml_collections.ConfigDict(_by_name(fields), convert_dict=True)


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


def _leave_open(config: Any, data: dict[str, Json]) -> None:
    """Lets overrides give what the field allows where that is a value or a tuple of values.

    Config flags would take the type of the present value; ``from_json`` checks that of the field.

    Args:
      config: a dataclass.
      data: its JSON, changed in place.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, inner = getattr(config, field.name), data[field.name]
        parts = value if isinstance(value, tuple) else (value,)
        if all(map(dataclasses.is_dataclass, parts)):
            for part, content in zip(parts, inner if parts is value else [inner], strict=True):
                _leave_open(part, content)
        elif any(typing.get_origin(kind) is tuple for kind in typing.get_args(hints[field.name])):
            data[field.name] = ml_collections.FieldReference(value, field_type=object)


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
