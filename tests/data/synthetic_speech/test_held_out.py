import json
from pathlib import Path

import pytest

from data.synthetic_speech.held_out import (
    HELD_OUT_CORPUS,
    HeldOutPhrases,
    held_out_phrases,
)
from rnnt_qat.input_pipeline.corpus import CorpusError

CORPORA = Path(__file__).parents[3] / "corpora"


def test_equal_sentences_are_forbidden_and_longer_ones_that_contain_four_held_out_words():
    held_out = HeldOutPhrases.from_phrases(["goodbye", "please hold on", "the line is now busy"])
    assert held_out.forbids("goodbye")
    assert held_out.forbids("please hold on")
    assert held_out.forbids("sorry the line is now busy again")
    assert not held_out.forbids("goodbye and thank you")
    assert not held_out.forbids("the line is busy")
    assert not held_out.forbids("please hold on now")


def test_saved_phrases_are_the_ones_read_and_do_not_show_the_text(tmp_path):
    held_out = HeldOutPhrases.from_phrases(["goodbye", "please hold on", "please hold on"])
    held_out.save(tmp_path / "held_out.txt")
    assert HeldOutPhrases.from_file(tmp_path / "held_out.txt") == held_out
    assert len(held_out) == 2
    assert "goodbye" not in (tmp_path / "held_out.txt").read_text()


def prepared_prompts(data_dir, text):
    directory = data_dir / HELD_OUT_CORPUS / "1.0.0"
    directory.mkdir(parents=True)
    (directory / "features.json").write_text("{}")
    row = {"id": "vm-hold", "speaker": "s", "text": text, "num_samples": 1}
    for split in ("validation", "test"):
        (directory / f"index-{split}.jsonl").write_text(json.dumps(row) + "\n")


def test_recordings_that_hold_out_something_else_are_noticed(tmp_path):
    held_out = HeldOutPhrases.from_phrases(["please hold on"])
    held_out.check_against(tmp_path)  # nothing is prepared there
    prepared_prompts(tmp_path / "same", "please hold on")
    held_out.check_against(tmp_path / "same")
    prepared_prompts(tmp_path / "other", "please wait")
    with pytest.raises(CorpusError, match=r"'vm-hold'.*python -m data.synthetic_speech.held_out"):
        held_out.check_against(tmp_path / "other")


@pytest.mark.skipif(
    not (CORPORA / HELD_OUT_CORPUS).exists(), reason="asterisk_prompts is not prepared in corpora/"
)
def test_the_repository_lists_what_the_prepared_recordings_hold_out():
    assert HeldOutPhrases.from_phrases(held_out_phrases(CORPORA)) == HeldOutPhrases.from_file()
