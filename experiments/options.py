"""Lists the fields of a config with their types, values, defaults and meanings.

python -m experiments.options --config=experiments/configs/prompts.py
python -m experiments.options --config=experiments/configs/prompts.py --search=rate --changed

Any field can be overridden: --config.FIELD=VALUE, with the names in the first column.
"""

import shutil
import sys
import textwrap

from absl import flags

from experiments.flags import define_config, experiment_config, run
from rnnt_qat.infra.config_docs import FieldDoc, field_docs

_CONFIG = define_config()
flags.mark_flag_as_required("config")
_SEARCH = flags.DEFINE_string("search", "", "Only fields whose name or meaning has this word.")
_CHANGED = flags.DEFINE_bool("changed", False, "Only fields that differ from their defaults.")


def main() -> int:
    """Prints the fields; returns 1 if none matches."""
    word, width = _SEARCH.value.lower(), shutil.get_terminal_size().columns
    fields = [
        field
        for field in field_docs(experiment_config(_CONFIG))
        if word in f"{field.path} {field.text}".lower()
        and (not _CHANGED.value or field.value != field.default)
    ]
    for field in fields:
        print(_shown(field, max(width, 60)))
    if not fields:
        print(f"no field matches --search={_SEARCH.value}", file=sys.stderr)
    return int(not fields)


def _shown(field: FieldDoc, width: int) -> str:
    """Returns a field as its override and an indented description."""
    default = "" if field.default is None else f", default {field.default}"
    default = "" if field.default == field.value else default
    line = f"--config.{field.path}={field.value}  ({field.type}{default})"
    indent = "    "
    wrapped = textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)
    text = textwrap.wrap(field.text, width, initial_indent=indent, subsequent_indent=indent)
    return "\n".join([*wrapped, *text])


if __name__ == "__main__":
    run(main)
