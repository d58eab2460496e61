"""The commands of the tutorial, run in order on a small folder of tones."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from tests.experiments import tones

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "TUTORIAL.md").read_text()
COMMANDS = re.findall(r"^    python -m (.*)$", TEXT, re.MULTILINE)

NEXT = {
    "data.prepare": "python -m experiments.train --config=experiments/configs/own_speech.py "
    "--workdir=workdir/own",
    "experiments.train": "python -m experiments.evaluate --workdir=workdir/own",
    "experiments.evaluate": "python -m experiments.export --model=workdir/own/models/float,"
    "workdir/own/models/calibration,workdir/own/models/aware --output=workdir/own/export",
    "experiments.sweep": "python -m experiments.sweep --models=workdir/own/models/float "
    "--policies=ethos_u_8x8_16 --workdir=",
    "experiments.report": "python -m webbrowser -t file://",
    "experiments.export": "arecord -f S16_LE -r 16000 -c 1 | python -m experiments.transcribe "
    "--model=workdir/own/export/AAT_W8_8x8_16/artefact --audio=-",
}
"""What a command names at its end."""


@pytest.mark.slow
@pytest.mark.exhaustive
def test_every_command_works_in_order(tmp_path):
    tones.record(tmp_path / "speech", speakers=tuple("123456"), utterances=4)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    for command in COMMANDS:
        arguments = shlex.split(command.replace("own_speech.py", "own_speech.py:quick"))
        if arguments[0] == "experiments.serve":
            continue  # runs until Ctrl-C; tests/live starts it
        if arguments[0] == "data.prepare":  # of six speakers, so that each split has some
            arguments += ["--librispeech_validation_speakers=2", "--librispeech_test_speakers=3"]
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=tmp_path, env=environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        if arguments[0] == "experiments.options":
            assert "--config.stages.float.steps=24" in done.stdout
        said = done.stdout + done.stderr
        if arguments[0] in NEXT:
            assert said.count("next: ") == 1  # none of the runs inside a sweep
            # A preparation's tables are on stdout, and so is the line behind them.
            of = done.stdout if arguments[0] == "data.prepare" else done.stderr
            assert of.splitlines()[-1].startswith(f"next: {NEXT[arguments[0]]}")
        if arguments[0] == "experiments.sweep":
            assert "WER - float" in done.stderr  # the table
    own = tmp_path / "workdir" / "own"
    for page in (own / "report", own / "export", own / "sweep" / "report"):
        assert "<title>" in (page / "report.html").read_text("utf-8")
    assert "Arithmetic" in (own / "report" / "report.html").read_text("utf-8")
    both = (tmp_path / "workdir" / "both.html").read_text("utf-8")
    assert both.count("own: ") > 3
    assert list((own / "report" / "tensorboard").glob("events*"))
