import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from data import prepare
from data.languages import LANGUAGES
from data.librispeech.folder import FolderSource
from data.synthetic_speech.config import SyntheticSpeechConfig
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus
from rnnt_qat.input_pipeline.preparation_command import preparation_command

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_prepares_from_the_command_line(miniature, tmp_path):
    command = (
        sys.executable,
        "-m",
        "data.prepare",
        "--workers=1",
        "--corpora=librispeech",
        f"--data_dir={tmp_path}/corpora",
        f"--librispeech_dir={miniature}",
        "--librispeech_test_speakers=19,26",
    )
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # A split is followed by the rate of its encoding, whatever its length; nothing else is said.
    assert [line.split(": encoded ")[0] for line in done.stderr.splitlines()] == [
        *("train", "validation", "test")
    ]
    test = next(line for line in done.stdout.splitlines() if line.startswith("test"))
    assert test.split()[1] == "4"
    assert (
        "prepared already, reused"
        in subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    )


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"corpora": ["librispeech"]}, "name the folder of LibriSpeech with --librispeech_dir"),
        ({"corpora": ["librispeech"], "librispeech_dir": "/nowhere"}, "/nowhere is not a folder"),
        ({"corpora": ["uqm_voices"]}, "with --uqm_debs"),
        ({"corpora": ["uqm_voices"], "uqm_debs": "/nowhere"}, "exactly one uqm-voice"),
    ],
)
def test_missing_sources_say_how_to_mend_them(named, message, tmp_path):
    flags.FLAGS.mark_as_parsed()
    with (
        flagsaver.flagsaver(data_dir=str(tmp_path), workers=1, **named),
        pytest.raises(CorpusError, match=f"^{named['corpora'][0]}: .*{message}"),
    ):
        prepare.main()


def test_language_encoding_and_normalising_are_chosen_by_flags(tmp_path):
    flags.FLAGS.mark_as_parsed()
    chosen = {"librispeech_language": "de", "librispeech_encoding": "latin-1"}
    for normalise in (True, False):
        with flagsaver.flagsaver(
            librispeech_dir=str(tmp_path), librispeech_normalise=normalise, **chosen
        ):
            source = prepare._librispeech()._source
        assert source == FolderSource(tmp_path, LANGUAGES["de"], normalise, "latin-1")


def test_an_unknown_corpus_names_the_known():
    with flagsaver.flagsaver():
        flags.FLAGS["corpora"].value = ["libri"]
        with pytest.raises(flags.IllegalFlagValueError, match="there are: asterisk_prompts"):
            flags.FLAGS.validate_all_flags()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("asterisk_prompts", ""),
        ("synthetic_speech/prompts_4h", " --synthetic_texts=prompts --synthetic_hours=4"),
        ("synthetic_speech/prompts_1.2h", " --synthetic_texts=prompts --synthetic_hours=1.2"),
        ("librispeech/by_speaker/1.0.0", ""),
        ("librispeech/full_960", " --librispeech_config=full_960"),
        ("librispeech/readers", " --librispeech_name=readers"),
        ("phrases/wake_words", " --phrases_name=wake_words"),
        ("uqm_voices/short", " --uqm_config=short"),
    ],
)
def test_a_missing_corpus_names_the_command_that_prepares_this_config(name, options, tmp_path):
    corpus = name.split("/")[0]
    command = f"python -m data.prepare --corpora={corpus} --data_dir={tmp_path}{options} "
    with pytest.raises(CorpusError, match="no prepared corpus") as caught:
        open_corpus(tmp_path, name, "train")
    assert f"prepare it with: {command}(" in str(caught.value)
    arguments = dict(option.removeprefix("--").split("=") for option in options.split())
    assert arguments.keys() <= set(flags.FLAGS)
    if corpus == "synthetic_speech":
        texts, hours = arguments["synthetic_texts"], float(arguments["synthetic_hours"])
        assert f"{corpus}/{SyntheticSpeechConfig(texts, hours).name}" == name


def test_options_that_a_name_only_has_as_a_hash_are_said_behind_the_command():
    name = SyntheticSpeechConfig("prompts", 4.0, seed=7).name
    command = preparation_command(f"synthetic_speech/{name}", "D")
    given, comment = command.split("  # ")
    assert given.endswith(" --data_dir=D --synthetic_texts=prompts --synthetic_hours=4")
    assert f"other options of this config, of which {name.split('_')[-1]} is the hash" in comment
