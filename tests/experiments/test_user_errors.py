"""Every mistake of a user is one message that names the flag, field or file; nothing is claimed."""

import dataclasses
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS, calibrated_ranges
from tests.experiments import tones, tones_config
from tests.experiments.forked import ROOT, run_all

pytestmark = pytest.mark.slow
CONFIG = "--config=tests/experiments/tones_config.py"

# Of each command line: binary, flags ({} are the names below), exit code, a part of the message.
TRAIN = [
    ("--config.evaluation.chunk_ms=100", 2, "evaluation.chunk_ms"),
    ("--config.evaluation.chunk_ms=(50.0,)", 2, "50"),
    ("--config.evaluation.chunk_ms=abc", 2, "evaluation.chunk_ms"),
    ("--config.pipeline.batch_seconds=0.1", 2, "batch_seconds"),
    ("--config.pipeline.batch_seconds=1", 2, "batch_seconds"),
    ("--config.pipeline.max_seconds=0.1", 2, "max_seconds"),
    ("--config.model.vocabulary=40", 2, "model.vocabulary=40"),
    ("--config.model.encoder.hidden_size=0", 2, "hidden_size"),
    ("--config.loss.ctc_weight=0.5 --config.model.ctc_head=False", 2, "ctc_weight"),
    ("--config.seed=abc", 2, "config.seed"),
    ("--config.precision=w9a9", 2, "w9a9"),
    ("--config.initialize_from=nowhere", 1, "nowhere holds no recognizer"),
    ("--config.initialize_from={damaged}", 1, "variables.npz"),
    ("--cpu_devices=64", 2, "64"),
    ("--cpu_devices=0", 2, "cpu_devices"),
    ("--data_dir=nowhere", 1, "nowhere"),
    ("--data_dir={file}", 1, "{file}"),
    ("--workdir={file}", 1, "{file}"),
    ("--workdir=/dev/null/run", 1, "/dev/null"),
    ("--workdir=file:///run", 2, "--workdir=file:///run: give the folder itself: /run"),
    ("--workdir=nosuch://bucket/run", 1, "nosuch://bucket/run: Protocol not known: nosuch"),
    ("--data_dir=file:///corpora", 2, "give the folder itself: /corpora"),
    ("--wrkdir=x", 2, "wrkdir"),
    ("stray", 2, "stray"),
    ("--config=nowhere.py", 2, "nowhere.py"),
    ("--config={broken}", 2, "line 2"),
    ("--config=experiments/configs/librispeech.py:by_speakr", 2, "by_speakr"),
]
EVALUATE = [
    ("", 2, "give --workdir or --models"),
    ("--models={model},{model}", 1, "name each model once"),
    ("--models={artefact}", 1, "it is an exported artefact, which `transcribe` plays"),
    ("--models={model} --chunk_ms=abc", 2, "--chunk_ms=abc"),
    ("--models={model} --chunk_ms=50", 2, "chunk_ms=50 "),
    ("--models={model} --chunk_ms=-40", 2, "--chunk_ms=-40"),
    ("--models={model} --beam_size=-2", 2, "beam_size"),
    ("--models={model} --beam_size=a", 2, "beam_size"),
    ("--models={model} --test=librispeech", 2, "CORPUS:SPLIT"),
    ("--models={model} --test=nothing:test", 1, "nothing"),
    ("--models={model} --output={file}", 2, "--output={file}"),
    ("--models={model},memory://bucket/model", 1, "memory://bucket/model holds nothing"),
    ("--models={model} --output=/dev/null/report", 2, "--output=/dev/null/report"),
    ("--models={damaged}", 1, "variables.npz"),
    ("--models={no_manifest}", 1, "recognizer.json"),
    ("--models={bad_stats}", 1, "feature_stats.json"),
    ("--models=nowhere", 1, "nowhere"),
    ("--workdir=nowhere", 1, "nowhere holds no models"),
]
SWEEP = [
    ("", 2, "give --config or --models"),
    ("--models={model},{model} --workdir={new}", 1, "name each model once"),
    (f"{CONFIG} --workdir={{new}} --seeds=a", 2, "--seeds=a"),
    (f"{CONFIG} --workdir={{new}} --seeds=-1", 2, "--seeds=-1"),
    (f"{CONFIG} --workdir={{new}} --policies=w9a9", 2, "w9a9"),
    ("--models={model} --workdir={file}", 2, "--workdir={file}: nothing can be written there"),
    ("--models={model} --workdir=/dev/null/x", 2, "--workdir=/dev/null/x"),
    ("--models={model} --workdir=nosuch://bucket/run", 1, "Protocol not known: nosuch"),
    ("--models=memory://bucket/model --workdir={new}", 1, "memory://bucket/model holds nothing"),
    ("--models={model},{larger} --workdir={new}", 1, "model.joint_size: 32 before, 33 now"),
]
EXPORT = [
    ("", 2, "give --model: Model directories, or directories that hold some."),
    ("--model={artefact} --output={new}", 1, "it is an exported artefact"),
    ("--model={model} --output={new} --chunks=0", 2, "--chunks=0"),
    ("--model={model} --output={new} --chunks=a", 2, "--chunks=a"),
    ("--model={model} --output={new} --targets=u99", 2, "u99"),
    ("--model={model} --output={new}", 1, "--policies=ethos_u_8x8_16"),
    ("--model={w8a8} --output={new}", 1, "--policies=ethos_u_8x8_16"),
    ("--model={generic} --output={new}", 1, "--policies=ethos_u_8x8_16"),
    ("--model={ethos} --output={file}", 2, "--output={file}"),
    ("--model={ethos} --output={workdir}", 2, "is not empty"),
]
FORMATS = [
    ("", 2, "config"),
    (f"{CONFIG} --config.model.encoder.hidden_size=0", 2, "hidden_size"),
    (f"{CONFIG} --config.model.encoder.hidden_size=-5", 2, "hidden_size"),
    (f"{CONFIG} --config.model.joint_size=0", 2, "joint_size"),
    (f"{CONFIG} --config.model.prediction.hidden_size=0", 2, "hidden_size"),
    (f"{CONFIG} --config.model.prediction.num_layers=0", 2, "num_layers"),
]
PREPARE = [
    ("--corpora=libri", 2, "there are: "),
    ("--corpora=librispeech", 1, "--librispeech_dir"),
    ("--corpora=librispeech --librispeech_dir=/nowhere --data_dir={new}", 1, "/nowhere"),
    ("--corpora=librispeech --librispeech_dir={speech} --data_dir={file}", 1, "{file}"),
]
SERVE = [
    ("", 2, "give --model: Model directories, shown side by side."),
    ("--model={model} --port={taken}", 2, "--port={taken}: Address already in use"),
    ("--model={model} --host=256.1.1.1", 2, "--host=256.1.1.1 "),
    ("--model={model} --port=http", 2, "--port=http: this is not a whole number"),
    ("--model={model} --origins=demo.example", 2, "--origins=demo.example: an origin is a scheme"),
    ("--model={model} --origins=https://demo.example/", 2, "an origin is a scheme and a host"),
    ("--model={model} --port=0 --chunk_ms=50", 2, "--chunk_ms: chunk_ms=50"),
    ("--model={model},{model} --port=0", 1, "name each model once"),
    ("--model={artefact} --port=0", 1, "it is an exported artefact"),
    ("--model={damaged} --port=0", 1, "variables.npz"),
]
COMPACT = [
    ("--model={model} --output={file}", 2, "--output={file}"),
    ("--model={artefact} --output={new}", 1, "it is an exported artefact"),
]
REPORT = [
    ("", 2, "give --results: "),
    ("--results=nowhere", 1, "nowhere holds no evaluation results"),
    ("--results={model}", 1, "give the folder that `evaluate`, `sweep` or `export` wrote"),
    ("--results={model} --audio=x", 2, "--audio=x: choose one of auto|embed|beside|none|off"),
]
CASES = {
    "experiments.serve": SERVE,
    "experiments.compact": COMPACT,
    "experiments.report": REPORT,
    "experiments.train": TRAIN,
    "experiments.evaluate": EVALUATE,
    "experiments.sweep": SWEEP,
    "experiments.export": EXPORT,
    "experiments.formats": FORMATS,
    "data.prepare": PREPARE,
}


def save(directory, policy=FLOAT32, stage="float", **sizes):
    config = tones_config.experiment()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **sizes))
    bins = config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.zeros(bins, np.float32), np.ones(bins, np.float32))
    inputs = example_inputs(config.model, config.frontend.feature_size)
    shapes = jax.eval_shape(
        RNNT(config.model, policy.calibration()).init, jax.random.key(0), *inputs
    )
    variables = jax.tree.map(lambda s: np.ones(s.shape, s.dtype), dict(shapes))
    variables[QUANT_STATS] = calibrated_ranges(variables.get(QUANT_STATS, {}))
    origin = {"stage": stage, "step": 1, "wer": None}
    Recognizer(
        config, policy, variables, Frontend(config.frontend, stats), CharacterTokenizer(), origin
    ).save(directory)
    return directory


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Files and folders that the command lines name."""
    root = tmp_path_factory.mktemp("errors")
    made = {"new": root / "new", "file": root / "file", "broken": root / "broken.py"}
    made["file"].write_text("no folder\n")
    made["broken"].write_text("import math\nraise RuntimeError('by hand')\n")
    made["corpora"], made["speech"] = tones.prepare(root), root / "speech"
    made["model"] = save(root / "run/models/float")
    made["workdir"] = root / "run"
    made["larger"] = save(root / "larger/models/float", joint_size=33)
    for name in ("w8a8", "generic_nna", "ethos_u_8x8_16"):
        key = name.partition("_")[0]
        made[key] = save(root / key / "models/aware", policy_by_name(name), "aware")
    for key, file, content in (
        ("damaged", "variables.npz", b"PK\x03\x04"),
        ("no_manifest", "recognizer.json", b"{"),
        ("bad_stats", "feature_stats.json", b""),
    ):
        made[key] = shutil.copytree(made["model"], root / key)
        (made[key] / file).write_bytes(content)
    made["artefact"] = root / "artefact"
    made["artefact"].mkdir()
    (made["artefact"] / "manifest.json").write_text("{}\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield {n: str(p) for n, p in made.items()} | {"taken": str(taken.getsockname()[1])}


@pytest.fixture(scope="module")
def ended(names):
    """How each command ended; a binary is imported once, when its first case is asked for."""
    found = {}

    def of(binary):
        if binary not in found:
            commands = {}
            for arguments, *_ in CASES[binary]:
                argv = arguments.format(**names).split()
                given = {a.partition("=")[0] for a in argv}
                standard = {"--data_dir": names["corpora"]}
                if binary == "experiments.train":
                    standard |= {"--workdir": names["new"], "--config": CONFIG.partition("=")[2]}
                argv += [f"{k}={v}" for k, v in standard.items() if k not in given]
                commands[arguments] = argv
            found[binary] = run_all(binary, commands)
        return found[binary]

    return of


@pytest.mark.parametrize(
    ("binary", "arguments", "code", "message"),
    [(binary, *case) for binary, cases in CASES.items() for case in cases],
)
def test_a_mistake_is_one_message(ended, names, binary, arguments, code, message):
    end = ended(binary)[arguments]
    assert "Traceback" not in end.err
    assert message.format(**names) in end.err
    assert end.code == code
    assert "WER" not in end.out + end.err  # nothing was decoded before
    assert not (pathlib.Path(names["new"]) / "config.json").exists()
    assert len([line for line in end.err.splitlines() if line]) <= 8


def test_help_lists_the_shared_flags_and_says_what_the_program_does():
    """As a program of its own: its flags are those that the main module defines."""
    command = [sys.executable, "-m", "experiments.train", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    said = done.stdout
    assert done.returncode == 0
    assert "Examples:" in said
    assert "--config=FILE.py\n" in said
    assert said.count(" Required.") == 2  # --config and --workdir
    flags = {"config", "workdir", "data_dir", "cpu_devices", "coordinator"}
    assert {f"--{name}" for name in flags} <= set(re.findall(r"^ +(--\w+)", said, re.M))
    assert "python -m experiments.train --config=experiments/configs/prompts.py" in said


def test_the_faults_of_the_program_keep_their_traceback(names, tmp_path):
    (tmp_path / "broken_binary.py").write_text(
        "from rnnt_qat.infra.program import run\ndef main():\n    raise AssertionError('a fault')\n"
    )
    (end,) = run_all("broken_binary", {"": []}, tmp_path).values()
    assert end.code == 1
    assert "Traceback" in end.err
    assert json.dumps(end.out) == '""'
