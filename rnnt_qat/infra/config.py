"""Convert frozen dataclasses to JSON and to overridable fields: one schema for all three.

A field that saved JSON lacks takes its default. A class whose saved form has changed otherwise has
a class method ``upgrade(data)``, which returns what any earlier version wrote in today's form.

Tuples of dataclasses that have a ``name`` field are lists in JSON, and are addressed by name where
they are overridden: ``--config.stages.float.steps=3``. Their sequence is the field ``order`` beside
the names: ``--config.stages.order=float,calibration`` leaves the others out.
"""

import dataclasses
import difflib
import importlib
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import ml_collections

from rnnt_qat.infra.errors import UserError

Json = Any
Config = TypeVar("Config")

TYPE = "type"
"""Key that names the class where a field's annotation leaves a choice."""
ORDER = "order"
"""Key of the names of a tuple of named dataclasses, beside the dataclasses themselves."""

_PACKAGE = __name__.split(".", maxsplit=1)[0]

_MOVED = {"rnnt_qat.experiment_config": "rnnt_qat.experiment.config"}
"""Modules that saved configs name by where they once were."""


class ConfigError(UserError, ValueError):
    """A config, or an override of one, that does not fit the schema."""


def require_at_least(least: int, config: Any, *names: str) -> None:
    """Refuses numbers of a dataclass that are too small, by the field's name.

    Raises:
      ValueError: the first of the named fields that is below ``least``.
    """
    for name in names:
        if (value := getattr(config, name)) < least:
            raise ValueError(f"{type(config).__name__}.{name}={value}: it must be at least {least}")


def to_json(config: Any) -> dict[str, Json]:
    """A dataclass as nested dicts, lists and scalars; every field is there.

    A field annotated with a union or a protocol gets a ``type`` beside its own fields.
    """
    hints = typing.get_type_hints(type(config))

    def convert(value: Any, hint: Any) -> Json:
        if dataclasses.is_dataclass(value):
            tag = {} if hint is type(value) else {TYPE: class_path(type(value))}
            return tag | to_json(value)
        if isinstance(value, tuple):
            # An element's class is its own choice: dataclasses in tuples always name it.
            return [convert(element, None) for element in value]
        return value

    return {
        field.name: convert(getattr(config, field.name), hints[field.name])
        for field in dataclasses.fields(config)
    }


def from_json(cls: type[Config], data: Mapping[str, Json]) -> Config:
    """Inverse of ``to_json``.

    Raises:
      ConfigError: an unknown field, a missing one that has no default, a value of the wrong type,
        or one that the class refuses.
    """
    return _build(cls, data, "")


def upgraded(cls: type, data: Mapping[str, Json]) -> dict[str, Json]:
    """JSON of a config as an earlier version wrote it, in the form that ``to_json`` gives today."""
    return to_json(from_json(cls, data))


def config_dict(config: Any) -> ml_collections.ConfigDict:
    """The fields of a dataclass, for ``ml_collections.config_flags`` to override."""
    return ml_collections.ConfigDict(_by_name(to_json(config)), convert_dict=True)


def config_of(variant: str, variants: Mapping[str, Callable[[], Any]]) -> ml_collections.ConfigDict:
    """``config_dict`` of the variant of a config file that is named after its colon.

    Raises:
      ConfigError: there is no such variant.
    """
    if variant not in variants:
        raise ConfigError(f"there is no variant {variant!r}; there are {', '.join(variants)}")
    return config_dict(variants[variant]())


def from_config_dict(cls: type[Config], config: ml_collections.ConfigDict) -> Config:
    """Inverse of ``config_dict``, after overrides."""
    return from_json(cls, _in_order(config.to_dict(), ""))


def field_paths(config: Mapping[str, Json], prefix: str = "") -> list[str]:
    """Dotted paths of all fields, inner ones included."""
    paths = []
    for name, value in config.items():
        paths.append(prefix + name)
        if isinstance(value, Mapping):
            paths += field_paths(value, f"{prefix}{name}.")
    return paths


def unknown_field_message(path: str, known: list[str]) -> str:
    """What to say to someone who named a field that is not there."""
    # First among fields of the same last name elsewhere, then among all by spelling.
    last = path.rsplit(".", maxsplit=1)[-1]
    same_name = [p for p in known if p.rsplit(".", maxsplit=1)[-1] == last]
    nearest = difflib.get_close_matches(path, same_name or known, n=1, cutoff=0.0)
    return f"there is no field {path!r}; did you mean {nearest[0]!r}?"


def _build(cls: type, data: Mapping[str, Json], path: str) -> Any:
    upgrade = getattr(cls, "upgrade", None)
    data = upgrade(data) if upgrade else data
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    for name in data:
        if name not in names and name != TYPE:
            known = [path + n for n in names]
            raise ConfigError(unknown_field_message(path + name, known))
    missing = [
        path + f.name for f in dataclasses.fields(cls) if f.name not in data and _required(f)
    ]
    if missing:
        raise ConfigError(f"{', '.join(missing)}: missing, and there is no default")

    values = {n: _convert(data[n], hints[n], f"{path}{n}") for n in names if n in data}
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise ConfigError(f"{path}{name}: {value!r} is not of type {_type_name(hints[name])}")
        if any(isinstance(v, float) and not math.isfinite(v) for v in _elements(value)):
            raise ConfigError(f"{path}{name}: {value!r} is not finite")
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{path.rstrip('.') or cls.__name__}: {error}") from error


def _elements(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value may stand in a field so annotated."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(_fits(element, arguments[0]) for element in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if getattr(hint, "_is_protocol", False):
        return dataclasses.is_dataclass(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _convert(value: Json, hint: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        cls = _class_at(value[TYPE], path) if TYPE in value else hint
        if not dataclasses.is_dataclass(cls):
            raise ConfigError(f"{path}: {dict(value)!r} is not of type {_type_name(hint)}")
        return _build(cls, value, f"{path}.")
    if isinstance(value, list | tuple):
        element = next(iter(typing.get_args(hint)), None)  # tuples here are of one type
        return tuple(_convert(v, element, f"{path}[{i}]") for i, v in enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool) and hint is float:
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{path}: {value} is not finite") from None
    return value


def class_path(cls: type) -> str:
    """Returns what ``type`` says in JSON of a class."""
    return f"{cls.__module__}:{cls.__qualname__}"


def _class_at(class_path: Json, path: str) -> type:
    """The class that a ``type`` names; only this package's dataclasses may be named."""
    if not isinstance(class_path, str):
        raise ConfigError(f"{path}.{TYPE}: {class_path!r} is not the name of a class")
    module, _, name = class_path.partition(":")
    try:
        if module.split(".")[0] != _PACKAGE:
            raise ImportError(f"it must be in {_PACKAGE}")
        cls = getattr(importlib.import_module(_MOVED.get(module, module)), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{path}.{TYPE}: no config class {class_path!r}: {error}") from error
    if not dataclasses.is_dataclass(cls):
        raise ConfigError(f"{path}.{TYPE}: {class_path!r} is not a config class")
    return typing.cast(type, cls)


def _type_name(hint: Any) -> str:
    return (
        str(hint) if isinstance(hint, types.GenericAlias) else getattr(hint, "__name__", str(hint))
    )


def _required(field: dataclasses.Field) -> bool:
    nothing = dataclasses.MISSING
    return field.default is nothing and field.default_factory is nothing


def _by_name(value: Json) -> Json:
    """Lists as tuples, which config flags parse; lists of named mappings as a mapping by name."""
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
    """Inverse of ``_by_name``."""
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
