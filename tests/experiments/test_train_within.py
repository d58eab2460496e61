"""An experiment packed, unpacked in an empty folder and trained there within a time."""

import json
import os
import subprocess
import sys
import tarfile
import textwrap

import pytest

from rnnt_qat.experiment.recognizer import Recognizer
from tests.experiments import tones
from tests.experiments.forked import ROOT

pytestmark = pytest.mark.slow

CONFIG = """
import dataclasses

from experiments.configs import prompts_smoke
from rnnt_qat.experiment.config import DataConfig, Split
from rnnt_qat.infra.config_overrides import config_of
from rnnt_qat.training.stages import TrainingStage
from rnnt_qat.training.task import FLOAT32

CORPUS = "librispeech/by_speaker"


def experiment(max_seconds=10.0):
    whole = prompts_smoke.experiment()
    return dataclasses.replace(
        whole,
        data=DataConfig(
            train=(Split(CORPUS, "train"),),
            validation=(Split(CORPUS, "validation"),),
            test=(Split(CORPUS, "test"),),
            statistics_utterances=3,
        ),
        pipeline=dataclasses.replace(
            whole.pipeline, num_buckets=1, max_seconds=max_seconds, features_on_host=False
        ),
        stages=(TrainingStage("float", precision=FLOAT32),),
    )


def get_config(variant="whole"):
    return config_of(variant, {"whole": experiment, "short": lambda: experiment(1.1)})
"""
# What only preparation and packing may import: the other machine has none of it.
ABSENT = ("av", "tensorflow_datasets", "matplotlib", "plotly", "jinja2")


def python(folder, *arguments, **variables):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    root = tmp_path_factory.mktemp("pack")
    data_dir, config = tones.prepare(root), root / "tiny.py"
    config.write_text(CONFIG)
    flags = f"--config={config} --variants=short,whole --data_dir={data_dir}".split()
    packed = python(
        ROOT, "-m", "experiments.pack", *flags, f"--output={root / 'tiny.tar.xz'}", "--limit_mb=20"
    )
    assert packed.returncode == 0, packed.stderr
    assert "experiments.train_within" in packed.stderr + packed.stdout
    with tarfile.open(root / "tiny.tar.xz") as archive:
        archive.extractall(root / "elsewhere", filter="data")
    folder = root / "elsewhere" / "tiny"
    (folder / "site").mkdir()
    for name in ABSENT:
        (folder / "site" / f"{name}.py").write_text(f"raise ImportError('{name} is not here')\n")
    return folder


def train(folder, seconds):
    return python(
        folder,
        "-m",
        "experiments.train_within",
        "--config=tiny.py",
        "--variants=short,whole",
        f"--seconds={seconds}",
        "--evaluation_seconds=2",
        "--rehearsal_seconds=0.2",
        "--workdir=run",
        PYTHONPATH="site",
    )


def test_from_the_pack_to_a_model_and_on_after_a_kill(unpacked):
    done = train(unpacked, 15)
    assert done.returncode == 0, done.stderr
    plans = [
        json.loads((unpacked / f"run/{n}/plan.json").read_text()) for n in ("0_short", "1_whole")
    ]
    assert all(plan["steps"] >= 1 and plan["rehearsal"]["seconds_per_step"] > 0 for plan in plans)
    model = unpacked / "run/1_whole/models/float"
    assert Recognizer.load(model).config.initialize_from.endswith("0_short/models/float")
    table = (unpacked / "run/table.md").read_text()
    assert "librispeech/by_speaker:validation" in table
    assert "librispeech/by_speaker:test |" not in table  # its transcripts alone were packed

    # As after a kill between the last checkpoint and the model: no stage begins anew.
    model.rename(unpacked / "run/before")
    again = train(unpacked, 15)
    assert again.returncode == 0, again.stderr
    said = again.stdout + again.stderr
    assert "0_short/models/float is there already" in said
    assert "resumed at step" in said
    kept, made = (
        (folder / "variables.npz").read_bytes() for folder in (unpacked / "run/before", model)
    )
    assert kept == made


def test_variants_of_several_stages_are_refused(unpacked):
    (unpacked / "two.py").write_text(
        textwrap.dedent("""
        from experiments.configs import assistant

        def get_config(variant=""):
            return assistant.get_config("digits")
        """)
    )
    done = python(
        unpacked,
        *["-m", "experiments.train_within", "--config=two.py", "--variants=a", "--workdir=other"],
        PYTHONPATH="site",
    )
    assert done.returncode == 2
    assert "give those that run one training stage, not float, calibration, aware" in done.stderr
