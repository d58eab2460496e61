"""The command that a preparation names at its end."""

import shlex

import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from data.languages import ENGLISH, LANGUAGES
from data.next_step import READERS, next_step
from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.infra.config_overrides import from_config_dict
from tests.experiments.forked import run_all


class Builder:
    """A corpus prepared with these splits, of which only the names are there."""

    def __init__(self, root, name, language=ENGLISH, splits=("train", "test")):
        self.name, _, config = name.partition("/")
        self.builder_config = type("Config", (), {"name": config}) if config else None
        self.language, self.data_dir = language, root / name / "1.0.0"
        self.data_dir.mkdir(parents=True)
        for file in ("preparation.json", *(f"index-{split}.jsonl" for split in splits)):
            (self.data_dir / file).touch()


@pytest.fixture(autouse=True)
def parsed():
    flags.FLAGS.mark_as_parsed()
    yield
    flags.FLAGS.unparse_flags()


def arguments(line):
    start, *given = shlex.split(line.removeprefix("next: python -m "))
    return start, dict(flag.removeprefix("--").split("=", 1) for flag in given)


def test_the_first_program_that_has_all_it_reads_is_named(tmp_path):
    prompts = Builder(tmp_path, "asterisk_prompts")
    module, given = arguments(next_step([prompts]))
    assert (module, given["config"]) == (
        "experiments.train",
        "experiments/configs/prompts_smoke.py",
    )
    speech = Builder(tmp_path, "synthetic_speech/prompts_4h")  # by another command
    with flagsaver.flagsaver(data_dir=str(tmp_path)):
        module, given = arguments(next_step([speech]))
    assert given["config"] == "experiments/configs/prompts.py"
    assert given["data_dir"] == str(tmp_path)
    assert "data_dir" not in arguments(next_step([speech]))[1]
    own = Builder(tmp_path, "librispeech/by_speaker")
    assert arguments(next_step([prompts, own]))[1]["config"].endswith("own_speech.py")


def test_another_language_has_its_letters(tmp_path):
    line = next_step([Builder(tmp_path, "librispeech/by_speaker", LANGUAGES["de"])])
    given = arguments(line)[1]
    assert given["config.data.characters"] == " 'abcdefghijklmnopqrstuvwxyzäöüß"
    assert given["config.model.vocabulary"] == "33"


def test_what_no_config_reads_alone_is_tested_with_the_shipped_recognizer(tmp_path):
    line = next_step([Builder(tmp_path, "speechocean762")])
    module, given = arguments(line)
    assert (module, given["test"]) == ("experiments.evaluate", "speechocean762:test")
    assert next_step([Builder(tmp_path, "librispeech/reader", splits=("train",))]) is None
    assert next_step([Builder(tmp_path, "librispeech/leser", LANGUAGES["de"])]) is None


@pytest.mark.parametrize(("corpora", "module", "given"), READERS)
def test_a_config_reads_these_corpora_and_no_others(corpora, module, given):
    parsed = ConfigFileFlagParser("config").parse(given["config"])
    data = from_config_dict(ExperimentConfig, parsed).data
    assert {split.corpus for split in (*data.train, *data.validation, *data.test)} == corpora


@pytest.mark.slow
def test_the_commands_are_ones_that_the_programs_take(tmp_path):
    lines = {}
    for number, (corpora, module, _) in enumerate(READERS):
        root = tmp_path / str(number)
        builders = [Builder(root, name, LANGUAGES["de"]) for name in sorted(corpora)]
        lines.setdefault(module, []).append(shlex.split(next_step(builders)))
    lines["experiments.evaluate"] = [shlex.split(next_step([Builder(tmp_path, "spoken_digits")]))]
    for module, commands in lines.items():
        for command in commands:
            assert command[:4] == ["next:", "python", "-m", module]
        named = {shlex.join(command): command[4:] for command in commands}
        for name, ended in run_all(module, named, parse_only=True).items():
            assert ended.code == 0, f"{name}\n{ended.err}"
