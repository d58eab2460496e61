"""Conversion of frozen dataclasses to and from JSON.

A field missing from saved JSON takes its default. A class whose saved form has changed in another
way has a class method ``upgrade(data)``, which converts any earlier form to the current one.
"""

import dataclasses
import difflib
import importlib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from rnnt_qat.infra.errors import UserError

Json = Any
Config = TypeVar("Config")

TYPE = "type"
"""Key of the class name in fields whose annotation allows several classes."""

_PACKAGE = __name__.split(".", maxsplit=1)[0]

_MOVED = {"rnnt_qat.experiment_config": "rnnt_qat.experiment.config"}
"""Current modules by the former names that saved configs contain."""


class ConfigError(UserError, ValueError):
    """A config or override that does not match the schema."""


def require_at_least(least: int, config: Any, *names: str) -> None:
    """Checks lower bounds of a dataclass's fields.

    Args:
      least: smallest valid value.
      config: the dataclass.
      *names: names of the fields to check.

    Raises:
      ValueError: if a field is below ``least``; the message names the first one.
    """
    for name in names:
        if (value := getattr(config, name)) < least:
            raise ValueError(f"{type(config).__name__}.{name}={value}: it must be at least {least}")


def to_json(config: Any) -> dict[str, Json]:
    """Converts a dataclass with all its fields to nested dicts, lists and scalars.

    The value of a field annotated with a union or a protocol has an additional key ``type``.
    """
    hints = typing.get_type_hints(type(config))

    def convert(value: Any, hint: Any) -> Json:
        if dataclasses.is_dataclass(value):
            tag = {} if hint is type(value) else {TYPE: class_path(type(value))}
            return tag | to_json(value)
        if isinstance(value, tuple):
            # Elements of a tuple may be of different classes, so they always have a ``type``.
            return [convert(element, None) for element in value]
        return value

    return {
        field.name: convert(getattr(config, field.name), hints[field.name])
        for field in dataclasses.fields(config)
    }


def from_json(cls: type[Config], data: Mapping[str, Json]) -> Config:
    """Converts the result of ``to_json`` back to a dataclass.

    Args:
      cls: class of the dataclass.
      data: JSON of the current or an earlier version.

    Raises:
      ConfigError: if a field is unknown, a required field is missing, or a value has the wrong type
        or is rejected by the class.
    """
    return _build(cls, data, "")


def upgraded(cls: type, data: Mapping[str, Json]) -> dict[str, Json]:
    """Converts config JSON of an earlier version to the current form.

    Args:
      cls: class of the config.
      data: JSON of the current or an earlier version.
    """
    return to_json(from_json(cls, data))


def field_paths(config: Mapping[str, Json], prefix: str = "") -> list[str]:
    """Returns the dotted paths of all fields, including nested ones."""
    paths = []
    for name, value in config.items():
        paths.append(prefix + name)
        if isinstance(value, Mapping):
            paths += field_paths(value, f"{prefix}{name}.")
    return paths


def unknown_field_message(path: str, known: list[str]) -> str:
    """Returns the error message for an unknown field, with suggestions.

    Args:
      path: dotted path of the unknown field.
      known: dotted paths of all fields.
    """
    # Prefer fields with the same last component, then fields with a similar spelling.
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
    """Returns whether a value matches a field's annotation."""
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
        element = next(iter(typing.get_args(hint)), None)  # config tuples have one element type
        return tuple(_convert(v, element, f"{path}[{i}]") for i, v in enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool) and hint is float:
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{path}: {value} is not finite") from None
    return value


def class_path(cls: type) -> str:
    """Returns the value of ``type`` in JSON for a class."""
    return f"{cls.__module__}:{cls.__qualname__}"


def _class_at(class_path: Json, path: str) -> type:
    """Returns the class named by a ``type``; only dataclasses of this package are allowed."""
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
