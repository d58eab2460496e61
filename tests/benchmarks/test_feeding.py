"""The benchmark of the input pipeline, tried on a corpus of tones."""

import json
import os
import subprocess
import sys

import pytest

from tests.experiments.tones import prepare


@pytest.mark.slow
def test_the_command_runs_here(tmp_path):
    corpora = prepare(tmp_path)
    path = tmp_path / "feeding.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.feeding", f"--data_dir={corpora}"),
            *("--split=librispeech/by_speaker:train", "--seconds=5", "--rounds=1"),
            *("--stages=decode,audio", "--cards=a card:1e9", f"--output={path}"),
        ],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert list(found) == ["decode", "audio"]
    for rows in found.values():
        assert rows[0]["audio_s"] >= 5
        assert rows[0]["cpu_s"] > 0
    assert found["decode"][0]["bytes"] == 32e3 * found["decode"][0]["audio_s"]
    rate = found["audio"][0]["audio_s"] / found["audio"][0]["cpu_s"]
    assert f"| batches of audio | {rate:,.0f} |" in done.stdout
    assert f"| {1e9 / rate:.1f} |" in done.stdout
