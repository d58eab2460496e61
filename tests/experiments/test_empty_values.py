"""A flag given without a value, e.g. by an unset variable of a shell, is refused by its name."""

import re

import pytest
from absl import flags

from rnnt_qat.infra.program import require_values
from tests.experiments.forked import ROOT, run_all

CONFIG = "--config=experiments/configs/prompts_smoke.py"
BINARIES = {
    "data.prepare": "--corpora=librispeech",
    "experiments.adapt": "--artefact=a --speech=a:b --output=c",
    "experiments.evaluate": "",
    "experiments.export": "--model=a --output=b",
    "experiments.pack": "--output=a",
    "experiments.report": "--results=a",
    "experiments.search": "--model=a --output=b",
    "experiments.serve": "--model=a",
    "experiments.sweep": "",
    "experiments.train": f"{CONFIG} --workdir=a",
    "experiments.train_tokenizer": "--corpora=a --output=b",
    "experiments.train_within": "--workdir=a",
    "experiments.transcribe": "--model=a --audio=b",
}
"""Programs with flags that list something, and the flags that each requires."""

SHARED = {
    "data.prepare": ["spoken_digits_test_speakers", "phrases_validation_speakers"],
    "experiments.pack": ["variants"],
    "experiments.train_within": ["variants"],
}
"""Lists among the flags that programs take from other modules."""

TEXTS = {
    "experiments.evaluate": ["workdir", "output", "data_dir"],
    "experiments.sweep": ["policies", "ablate", "map", "workdir", "ray_address"],
}

LISTS = re.compile(r'flags\.DEFINE_list\(\s*"(\w+)"')


def lists(module: str) -> list[str]:
    return LISTS.findall((ROOT / f"{module.replace('.', '/')}.py").read_text())


def test_these_are_the_programs_with_lists():
    modules = [f"{p.parent.name}.{p.stem}" for p in (ROOT / "experiments").glob("*.py")]
    with_lists = {module for module in modules if lists(module)} - {"experiments.flags"}
    assert with_lists | {"experiments.pack", "data.prepare"} == BINARIES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted(BINARIES))
def test_an_empty_value_is_refused_by_the_name_of_its_flag(module):
    names = lists(module) + SHARED.get(module, []) + TEXTS.get(module, [])
    wrong = [f"{name}=" for name in names]
    wrong += [f"{name}={value}" for name in lists(module) for value in ("phrases,", ",phrases")]
    commands = {given: [*BINARIES[module].split(), f"--{given}"] for given in wrong}
    for given, end in run_all(module, commands, parse_only=True).items():
        assert f"--{given}: a value is empty; the flag takes: " in end.err
        assert end.code == 2


def test_texts_that_are_empty_by_default_may_be_empty():
    values = flags.FlagValues()
    flags.DEFINE_string("speaker", "", "", flag_values=values)
    flags.DEFINE_string("model", None, "", flag_values=values)
    flags.DEFINE_multi_string("size", None, "", flag_values=values)
    for given, code in (("--speaker=", None), ("--model= ", "model"), ("--size=", "size")):
        values(["program", given])
        check(values, code)
        values.unparse_flags()


def check(values, refused):
    if refused is None:
        require_values(values)
    else:
        with pytest.raises(flags.IllegalFlagValueError, match=f"^--{refused}= ?: a value"):
            require_values(values)


def test_benchmarks_run_as_the_programs_do():
    """So that the same holds for their flags."""
    for path in (ROOT / "benchmarks").rglob("*.py"):
        assert "app.run(" not in path.read_text(), path
