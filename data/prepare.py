"""Prepares corpora: ``python -m data.prepare --corpora=asterisk_prompts --data_dir=corpora``."""

from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging

from data.asterisk_prompts.builder import AsteriskPrompts
from data.corpus import CorpusBuilder
from rnnt_qat.input_pipeline.corpus import CorpusError

_DATA_DIR = flags.DEFINE_string("data_dir", "corpora", "Where corpora are prepared.")
_WORKERS = flags.DEFINE_integer(
    "workers", None, "Processes that decode; one a core by default.", lower_bound=1
)
_ASTERISK_DEBS = flags.DEFINE_string(
    "asterisk_debs", None, "Folder with the two Asterisk packages; by default apt downloads them."
)


def _asterisk_prompts() -> CorpusBuilder:
    debs = Path(_ASTERISK_DEBS.value) if _ASTERISK_DEBS.value else None
    return AsteriskPrompts(data_dir=_DATA_DIR.value, workers=_WORKERS.value, debs=debs)


BUILDERS: dict[str, Callable[[], CorpusBuilder]] = {"asterisk_prompts": _asterisk_prompts}

_CORPORA = flags.DEFINE_list(
    "corpora", None, f"Corpora to prepare, by comma: {', '.join(sorted(BUILDERS))}.", required=True
)
flags.register_validator(
    _CORPORA,
    lambda names: set(names or ()) <= BUILDERS.keys(),
    f"unknown corpus; there are: {', '.join(sorted(BUILDERS))}",
)


def main(argv: list[str]) -> None:
    """Prepares each corpus that is named."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    logging.set_verbosity(logging.WARNING)  # tfds tells the file of every step
    for name in _CORPORA.value:
        try:
            BUILDERS[name]().prepare()
        except CorpusError as error:
            raise SystemExit(f"data.prepare: {name}: {error}") from None


if __name__ == "__main__":
    app.run(main)
