import dataclasses
import json

import numpy as np
import pytest

from rnnt_qat.evaluation.report import (
    ResultError,
    compare,
    load_result,
    markdown_report,
    markdown_table,
    save_result,
    timing_table,
    write_report,
)
from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.metrics.latency import RealTimeFactor
from rnnt_qat.metrics.wer import character_errors, word_errors

REFERENCES = ["the cat sat", "a dog ran past", "", "night"] * 10
GOOD = ["the cat sat", "a dog ran past", "", "light"] * 10
BAD = ["the bat sat down", "a dog past", "", "light"] * 10


def make_result(system, hypotheses, *, test_set="prompts", shift=0, **kw):
    words = word_errors(REFERENCES, hypotheses)
    characters = character_errors(REFERENCES, hypotheses)
    utterances = tuple(
        UtteranceResult(
            id=f"utt-{i:02d}",
            reference=REFERENCES[i],
            hypothesis=text,
            words=words[i],
            characters=characters[i],
            tokens=tuple(ord(c) for c in text),
            pieces=tuple(text),
            emission_frames=tuple(range(2 + shift, 2 + shift + len(text))),
            log_prob=-1.5,
            overflow=0,
            audio_s=2.0,
        )
        for i, text in enumerate(hypotheses)
    )
    fields = {"chunk_ms": 240.0, "encoder_frame_ms": 60.0, **kw}
    return EvaluationResult(test_set, system, "GreedyConfig()", utterances=utterances, **fields)


FLOAT = make_result("float32", GOOD, real_time_factor=RealTimeFactor(0.02, 0.01, 0.03, 80.0, 3))
CHIP = make_result("w8a8", BAD, shift=1, missing=2)


def test_json_round_trip(tmp_path):
    for result in (FLOAT, CHIP, make_result("whole", GOOD, chunk_ms=None)):
        save_result(result, tmp_path / "r.json")
        assert load_result(tmp_path / "r.json") == result
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["summary"]["wer"] == FLOAT.wer.value
    assert record["utterances"][0]["token_times_ms"][:2] == [180.0, 240.0]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"summary": 1, "real_time_factor": null}'])
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ResultError, match=r"r\.json is not an evaluation result"):
        load_result(tmp_path / "r.json")
    with pytest.raises(ResultError, match=r"absent\.json does not exist"):
        load_result(tmp_path / "absent.json")


def test_comparison_with_the_first():
    baseline, chip = compare([FLOAT, CHIP])
    assert baseline.difference is None
    assert chip.difference.difference.value == pytest.approx(CHIP.wer.value - FLOAT.wer.value)
    assert chip.difference.significant
    assert chip.emission_delay_ms.p50 == 60  # utterances heard alike, one frame later
    fewer = dataclasses.replace(CHIP, utterances=CHIP.utterances[:-1])
    with pytest.raises(ValueError, match="'w8a8' and 'float32' decoded different utterances"):
        compare([FLOAT, fewer])


def test_the_table_says_what_was_found():
    header, rule, first, second = markdown_table([FLOAT, CHIP]).splitlines()
    assert header.count("|") == rule.count("|") == first.count("|") == second.count("|")
    assert "WER [95%]" in header
    assert f"{100 * 10 / 80:.2f} %" in first
    assert "10 / 0 / 0" in first
    assert "baseline" in first
    assert "20 / 10 / 10" in second
    columns = [[cell.strip() for cell in line.split("|")] for line in (header, first, second)]
    assert [line[-2] for line in columns] == ["real-time factor", "0.02", "-"]
    assert "real-time factor" not in markdown_table([CHIP])
    assert "**+37.50 [" in second
    header, rule, first, second = timing_table([FLOAT, CHIP]).splitlines()
    assert header.count("|") == rule.count("|") == first.count("|") == second.count("|")
    assert "| 0.02 [0.01, 0.03] |" in first
    assert "| 240 / 240 | 180 / 180 |" in first  # shown with its chunk, emitted at its frame


def test_an_utterance_is_right_to_the_letter_or_wrong():
    assert FLOAT.utterance_error_rate == 1 / 4
    assert dict(CHIP.metrics())["utterance_error_rate"] == 3 / 4
    table = markdown_table([FLOAT, CHIP]).splitlines()
    column = [cell.strip() for cell in table[0].split("|")].index("utterances wrong")
    assert [row.split("|")[column].strip() for row in table[2:]] == ["25.00 %", "75.00 %"]


def test_the_report_marks_errors_and_warns(tmp_path):
    path = write_report(tmp_path, [FLOAT, CHIP], {"rates": "wer.png"}, preface="two systems")
    text = path.read_text()
    assert text.startswith("# Evaluation\n\ntwo systems\n")
    assert "![rates](wer.png)" in text
    assert "| the ~~cat~~ **bat** sat **down** |" in text
    assert "a dog ~~ran~~ past" in markdown_report([CHIP], examples=20)
    assert "2 utterances of the test set were not decoded" in text
    assert load_result(tmp_path / "prompts-w8a8-240ms.json") == CHIP
    assert "prompts, oracle, 240 ms: no errors." in markdown_report(
        [make_result("oracle", REFERENCES)]
    )
    with pytest.raises(ValueError, match="same test set, system and chunk"):
        write_report(tmp_path, [FLOAT, FLOAT])


def test_latency_of_the_set():
    assert FLOAT.first_token_ms.p50 == 240  # frame 2 ends at 180 ms, its chunk at 240 ms
    assert make_result("whole", GOOD, chunk_ms=None).first_token_ms.p50 == 2000
    silent = make_result("silent", [""] * 40)
    assert np.isnan(silent.first_token_ms.p50)
    assert "| - |" in timing_table([silent])
    assert "first_token_ms_p50" not in dict(silent.metrics())
