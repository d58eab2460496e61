import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data.skips import Cause
from data.synthetic_speech.builder import SyntheticSpeech
from data.synthetic_speech.config import SyntheticSpeechConfig
from data.synthetic_speech.speakers import SpeakersConfig
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus

CONFIG = SyntheticSpeechConfig(
    hours=0.012,
    validation_hours=0.002,
    test_hours=0.002,
    voices=("pico_us", "pico_gb"),
    speakers=SpeakersConfig(train=2, validation=1, test=1),
)
NAME = f"synthetic_speech/{CONFIG.name}"
REPOSITORY = Path(__file__).parents[3]

PREPARE = """
from data.synthetic_speech.builder import SyntheticSpeech
from tests.data.synthetic_speech.test_builder import CONFIG
if __name__ == "__main__":
    SyntheticSpeech(data_dir={data_dir!r}, config=CONFIG, workers=2).prepare()
"""


def audio_of(data_dir, split):
    return {u.id: u for u in open_corpus(data_dir, NAME, split)}


def finished(data_dir):
    return {p: p.stat().st_mtime_ns for p in Path(data_dir).glob("cache/**/*.flac")}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("corpora")
    builder = SyntheticSpeech(data_dir=data_dir, config=CONFIG, workers=1)
    builder.prepare()
    return data_dir, builder


def test_splits_share_neither_sentences_nor_speakers(prepared):
    data_dir, _ = prepared
    corpora = [open_corpus(data_dir, NAME, split) for split in ("train", "validation", "test")]
    assert all(len(corpus) for corpus in corpora)
    for i, corpus in enumerate(corpora):
        for other in corpora[:i]:
            assert not set(corpus.texts) & set(other.texts)
            assert not set(corpus.speakers) & set(other.speakers)
    seconds = corpora[0].num_samples.sum() / 16_000
    assert seconds == pytest.approx(3600 * CONFIG.hours, rel=0.15)


@pytest.mark.slow
def test_killed_and_begun_again_in_two_processes_it_is_what_one_process_makes(prepared, tmp_path):
    script = tmp_path / "prepare.py"
    script.write_text(PREPARE.format(data_dir=str(tmp_path / "corpora")))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}

    def start():
        return subprocess.Popen(
            [sys.executable, script], cwd=REPOSITORY, env=environment, start_new_session=True
        )

    first = start()
    try:
        deadline = time.monotonic() + 600
        while len(finished(tmp_path / "corpora")) < 5:
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    before = finished(tmp_path / "corpora")
    with pytest.raises(CorpusError, match="no prepared corpus"):
        open_corpus(tmp_path / "corpora", NAME, "train")

    assert start().wait(timeout=240) == 0
    after = finished(tmp_path / "corpora")
    assert len(before) < len(after)
    assert before.items() <= after.items()  # what was finished was not made again
    for split in ("train", "validation", "test"):
        one, two = audio_of(prepared[0], split), audio_of(tmp_path / "corpora", split)
        assert one.keys() == two.keys()
        for utterance_id, utterance in one.items():
            again = two[utterance_id]
            assert (again.text, again.speaker) == (utterance.text, utterance.speaker)
            np.testing.assert_array_equal(again.audio, utterance.audio)


def test_a_mis_synthesized_utterance_is_counted_and_left_out(tmp_path, monkeypatch):
    from data.synthetic_speech import take
    from data.synthetic_speech.voices import load_voice

    class Mumbling:
        sample_rate_hz = 16_000
        calls = 0

        def synthesize(self, spoken, **request):
            Mumbling.calls += 1
            audio = load_voice("pico_us").synthesize(spoken, **request)
            return audio if Mumbling.calls % 4 else audio[:100]

    monkeypatch.setattr(take, "load_voice", lambda name: Mumbling())
    builder = SyntheticSpeech(data_dir=tmp_path, config=CONFIG, workers=1)
    builder.prepare()
    counts = builder.skip_report.counts()
    kept = sum(count.utterances for count in builder.skip_report.kept.values())
    assert sum(counts.values()) == (kept + sum(counts.values())) // 4
    assert counts.keys() <= {Cause.EMPTY_AUDIO, Cause.TOO_SHORT_FOR_TEXT}


def test_a_voice_that_is_not_installed_stops_it_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    config = SyntheticSpeechConfig(hours=0.01, voices=("espeak_us",))
    with pytest.raises(CorpusError, match="voices: the command 'espeak-ng' is not installed"):
        SyntheticSpeech(data_dir=tmp_path, config=config, workers=1).prepare()
    assert not (tmp_path / "cache").exists()
