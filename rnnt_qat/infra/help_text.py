"""Help of a program: its examples, then its flags in groups with their defaults."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping

from absl import flags


def help_text(
    doc: str, groups: Mapping[str, Iterable[flags.Flag]], width: int | None = None
) -> str:
    """Returns the help of a program.

    Args:
      doc: docstring of the program: a summary, commands as examples, and remarks. A paragraph that
        ends with a colon introduces the commands after it.
      groups: flags by title of their group; empty groups are omitted.
      width: columns; None for the terminal's.
    """
    width = max(width or min(shutil.get_terminal_size().columns, 110), 60)
    parts = []
    titled = False
    for paragraph in doc.replace("``", "`").strip().split("\n\n"):
        if re.search(r"^\S*.*python -m ", paragraph, re.MULTILINE):
            examples = "\n".join(f"  {line.rstrip()}" for line in paragraph.splitlines())
            parts.append(examples if titled else f"Examples:\n{examples}")
            titled = True
        else:
            parts.append(textwrap.fill(paragraph, width))
            titled = titled or paragraph.endswith(":")  # it introduces the next one
    for title, members in groups.items():
        shown = [_flag(flag, width) for flag in members]
        if shown:
            parts.append("\n".join([f"{title}:", *shown]))
    return "\n\n".join(parts) + "\n"


def _flag(flag: flags.Flag, width: int) -> str:
    """Returns a flag's name, its default and its meaning."""
    kind = "" if flag.boolean else "=" + _value_name(flag)
    text = " ".join((flag.help or "").split())
    if isinstance(flag, flags.EnumFlag):  # absl puts the values before the meaning
        text = text.partition(">: ")[2]
    if flag.using_default_value and flag.default is not None and flag.default != []:
        default = str(flag.default_as_str).strip("'")
        text += f" Default: {default}."
    if any("other than None" in validator.message for validator in flag.validators):
        text += " Required."
    return f"  --{flag.name}{kind}\n" + textwrap.fill(
        text, width, initial_indent="      ", subsequent_indent="      "
    )


def _value_name(flag: flags.Flag) -> str:
    if isinstance(flag, flags.EnumFlag):
        return "|".join(flag.parser.enum_values)
    kind = flag.flag_type().upper()
    return _KINDS.get(kind, kind)


_KINDS = {
    "STRING": "TEXT",
    "COMMA SEPARATED LIST OF STRINGS": "A,B,...",
    "CONFIG OBJECT": "FILE.py",
}
