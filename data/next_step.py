"""The command after a preparation: what trains on the corpora that there are, or tests on one."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from data.corpus import CorpusBuilder
from data.data_dir import given_data_dir
from data.languages import ENGLISH
from rnnt_qat.infra.next_command import Flags, command, next_line

_CONFIGS = "experiments/configs"
_SHIPPED = "data/pretrained/assistant"

READERS: Sequence[tuple[frozenset[str], str, Flags]] = (
    (
        frozenset({"librispeech/by_speaker"}),
        "experiments.train",
        {"config": f"{_CONFIGS}/own_speech.py", "workdir": "workdir/own"},
    ),
    (
        frozenset({"asterisk_prompts", "synthetic_speech/prompts_4h"}),
        "experiments.train",
        {"config": f"{_CONFIGS}/prompts.py", "workdir": "workdir/prompts"},
    ),
    (
        frozenset({"asterisk_prompts", "synthetic_speech/prompts_1.2h"}),
        "experiments.sweep",
        {
            "models": _SHIPPED,
            "config": f"{_CONFIGS}/on_chip.py",
            "policies": "w8a8,ethos_u_8x8_16",
            "workdir": "workdir/demo",
        },
    ),
    (
        frozenset({"synthetic_speech/prompts_4h"}),
        "experiments.train",
        {"config": f"{_CONFIGS}/prompts.py:synthetic_only", "workdir": "workdir/prompts"},
    ),
    (
        frozenset({"asterisk_prompts"}),
        "experiments.train",
        {"config": f"{_CONFIGS}/prompts_smoke.py", "workdir": "workdir/smoke"},
    ),
)
"""Corpora, and the program and flags that need these and no others; the first fit is named."""


def next_step(builders: Sequence[CorpusBuilder]) -> str | None:
    """Returns the line that names the next command; None if no shipped config or model fits.

    Args:
      builders: builders of the corpora just prepared, in one folder.
    """
    prepared = {_name(builder): builder for builder in builders}
    name, builder = next(iter(prepared.items()))
    data_dir = Path(builder.data_dir).parents[len(Path(name).parts)]
    given = {"data_dir": given_data_dir()}
    for corpora, module, flags in READERS:
        there = all(any((data_dir / name).glob("*/preparation.json")) for name in corpora)
        if there and corpora & prepared.keys():
            letters = _letters(prepared[name] for name in corpora & prepared.keys())
            return next_line(command(module, {**flags, **letters, **given}))
    for name, builder in prepared.items():
        if builder.language is ENGLISH and (Path(builder.data_dir) / "index-test.jsonl").exists():
            test = {"models": _SHIPPED, "test": f"{name}:test", "output": f"workdir/{name}"}
            return next_line(command("experiments.evaluate", {**test, **given}))
    return None


def _name(builder: CorpusBuilder) -> str:
    """Returns a corpus' name, ``corpus`` or ``corpus/config``."""
    return (
        f"{builder.name}/{builder.builder_config.name}" if builder.builder_config else builder.name
    )


def _letters(builders: Iterable[CorpusBuilder]) -> Flags:
    """Returns the flags of a config that reads another language than its own, English."""
    for builder in builders:
        if builder.language is not ENGLISH:
            characters = builder.language.characters
            return {
                "config.data.characters": characters,
                "config.model.vocabulary": len(characters) + 1,
            }
    return {}
