import dataclasses
import json
import re

import plotly.graph_objects
import pytest

from rnnt_qat.evaluation.report import ResultError
from rnnt_qat.report import page
from rnnt_qat.report.content import page_content
from rnnt_qat.report.headline_tables import differences_to_first
from rnnt_qat.report.stored_run import StoredRun
from tests.report.stored import BAD, GOOD, REFERENCES, recordings, write_run


@pytest.fixture
def run(tmp_path):
    return StoredRun.load(write_run(tmp_path / "one" / "report", good=GOOD, bad=BAD))


@pytest.fixture
def written(tmp_path):
    def write(*runs, audio=page.Audio.AUTO):
        path = page.write_page(tmp_path / "page.html", runs, recordings(), audio)
        return path.read_text("utf-8")

    return write


def test_a_folder_is_read_in_the_order_it_was_written(tmp_path):
    folder = write_run(tmp_path / "two" / "report", zebra=GOOD, ape=BAD)
    assert [r.system for r in StoredRun.load(folder).results] == ["zebra", "ape"]
    (folder / "results.json").unlink()  # as versions without that file wrote it
    assert [r.system for r in StoredRun.load(folder).results] == ["ape", "zebra"]


def test_a_folder_without_results_says_what_to_give(tmp_path):
    with pytest.raises(ResultError, match="WORKDIR/report"):
        StoredRun.load(tmp_path)


def test_every_utterance_is_there_with_alignment_tokens_and_speaker(run):
    content = page_content([run], recordings())
    (group,) = content["sets"]
    assert [u["r"] for u in group["utterances"]] == list(REFERENCES)
    first = group["utterances"][0]
    assert (first["who"], first["snr"]) == ("speaker 0", 0.0)
    assert [h["o"] for h in first["h"]] == ["eee", "esei"]
    assert first["h"][1]["t"] == "the bat sat down"
    assert first["h"][1]["e"] == 2
    assert first["h"][1]["ms"][:2] == [120, 160]
    assert ["cat", "bat", 3] in map(list, group["systems"][1]["words"])
    assert ["", "down", 3] in map(list, group["systems"][1]["words"])


def test_every_figure_is_one_that_plotly_draws(run):
    figures = page_content([run], recordings())["figures"]
    titles = [figure["title"] for figure in figures]
    for part in ("Training loss", "Validation", "Throughput", "By length", "By speaker"):
        assert any(part in title for title in titles), part
    for part in ("By signal", "Word error rates", "Difference", "against size", "bad"):
        assert any(part in title for title in titles), part
    for figure in figures:
        plotly.graph_objects.Figure(figure["data"], figure["layout"])  # raises on unknown fields


def test_the_page_holds_all_it_needs(run, written):
    text = written(run)
    assert "python -m experiments.evaluate &#39;--workdir=a b&#39;" in text
    assert "c0ffee" in text
    assert "Plotly" in text
    assert "receiveAudio(0, " in text
    ours = text.partition('id="plotly"')[0]  # what follows is Plotly's own code
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", ours)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert json.loads(data[1])["sets"][0]["utterances"][2]["r"] == "night </script><b>"


def test_audio_beside_the_page(run, written, tmp_path):
    text = written(run, audio=page.Audio.BESIDE)
    assert "receiveAudio(0, " not in text
    shard = (tmp_path / "page_audio" / "0.js").read_text()
    files = json.loads(shard.partition(", ")[2].rpartition(")")[0])
    assert files["0:3"] == recordings()["made:test", "utt/3"].audio


def test_runs_side_by_side(run, written, tmp_path):
    other = StoredRun.load(write_run(tmp_path / "other" / "report", good=BAD))
    text = written(run, other)
    for name in ("one: good", "one: bad", "other: good"):
        assert name in text
    content = page_content([run, other], {})
    assert [len(u["h"]) for u in content["sets"][0]["utterances"]] == [3] * len(REFERENCES)


def test_differences_need_the_same_utterances(run):
    good, bad = run.results
    assert differences_to_first([good, bad])[1].value > 0
    shorter = dataclasses.replace(bad, utterances=bad.utterances[:2])
    assert differences_to_first([good, shorter]) == [None, None]
