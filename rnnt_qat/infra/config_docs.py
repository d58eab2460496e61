"""Documentation of a config's fields: path, type, value, default and what each means."""

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

_ENTRY = re.compile(r"^(\w+): (.*)$")


@dataclasses.dataclass(frozen=True)
class FieldDoc:
    """One field of a nested config.

    Attributes:
      path: path for overrides, e.g. ``model.encoder.hidden_size``.
      type: annotated type.
      value: value in the config.
      default: default of its class; None if it has none.
      text: description from the class's docstring.
    """

    path: str
    type: str
    value: str
    default: str | None
    text: str


def field_docs(config: Any, prefix: str = "") -> Iterator[FieldDoc]:
    """Yields the fields of a frozen dataclass and of those inside it, in order.

    Args:
      config: the config.
      prefix: path of the config within a larger one, with a trailing dot.
    """
    texts = attribute_texts(type(config))
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, path = getattr(config, field.name), f"{prefix}{field.name}"
        named = isinstance(value, tuple) and value and all(hasattr(v, "name") for v in value)
        if dataclasses.is_dataclass(value):
            yield from field_docs(value, f"{path}.")
        elif named and all(dataclasses.is_dataclass(element) for element in value):
            for element in value:
                yield from field_docs(element, f"{path}.{element.name}.")
        else:
            yield FieldDoc(
                path,
                _type_name(hints[field.name]),
                repr(value),
                _default(field),
                texts.get(field.name, ""),
            )


def attribute_texts(cls: type) -> dict[str, str]:
    """Returns the descriptions in the section ``Attributes`` of a class's docstring, by name."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        lines = (base.__doc__ or "").splitlines()
        starts = [i for i, line in enumerate(lines) if line.strip() == "Attributes:"]
        if not starts:
            continue
        name = ""
        for line in lines[starts[0] + 1 :]:
            if line.strip() and len(line) - len(line.lstrip()) < 6:
                break
            entry = _ENTRY.match(line.strip())
            if entry and len(line) - len(line.lstrip()) == 6:
                name = entry[1]
                texts[name] = entry[2]
            elif name and line.strip():
                texts[name] += " " + line.strip()
    return texts


def _type_name(hint: Any) -> str:
    if hint is type(None):
        return "None"
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return " | ".join(_type_name(each) for each in typing.get_args(hint))
    if arguments := typing.get_args(hint):
        inner = ", ".join("..." if a is ... else _type_name(a) for a in arguments)
        return f"{getattr(typing.get_origin(hint), '__name__', hint)}[{inner}]"
    return getattr(hint, "__name__", str(hint))


def _default(field: dataclasses.Field) -> str | None:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return repr(field.default_factory())
    return None
