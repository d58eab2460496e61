import dataclasses

from experiments.configs import prompts
from rnnt_qat.infra.config_docs import attribute_texts, field_docs


@dataclasses.dataclass(frozen=True)
class Inner:
    """A part.

    Attributes:
      size: units, which may
        take two lines.
      name: its name.

    Remarks:
      more: is no field.
    """

    size: int | None = 3
    name: str = "a"


@dataclasses.dataclass(frozen=True)
class Outer:
    """A whole.

    Attributes:
      inner: described by its own class.
      parts: named ones.
      rates: numbers.
    """

    inner: Inner
    parts: tuple[Inner, ...] = (Inner(name="b"),)
    rates: tuple[float, ...] = ()


def test_fields_have_paths_types_defaults_and_texts():
    found = {d.path: d for d in field_docs(Outer(Inner(size=7), rates=(0.5,)))}
    assert list(found) == [
        "inner.size", "inner.name", "parts.b.size", "parts.b.name", "rates",
    ]  # fmt: skip
    size = found["inner.size"]
    assert (size.type, size.value, size.default) == ("int | None", "7", "3")
    assert size.text == "units, which may take two lines."
    assert found["rates"].type == "tuple[float, ...]"
    assert set(attribute_texts(Inner)) == {"size", "name"}


def test_every_field_of_the_main_config_is_documented():
    lacking = [doc.path for doc in field_docs(prompts.experiment()) if not doc.text]
    assert lacking == []
