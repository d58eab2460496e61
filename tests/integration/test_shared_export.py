"""Two processes that share an export write what one alone writes."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from rnnt_qat.evaluation.report import load_result
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.durable_files import checksums
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS
from tests.experiments import tones, tones_config
from tests.integration.test_distributed import finish, free_port


def save(directory):
    """Saves a random model, calibrated on noise."""
    config, rng = tones_config.experiment(), np.random.default_rng(0)
    policy = policy_by_name("ethos_u_8x8_16")
    inputs = example_inputs(config.model, config.frontend.feature_size)
    shapes = jax.eval_shape(RNNT(config.model, FLOAT32).init, jax.random.key(0), *inputs)
    params = jax.tree.map(lambda s: rng.normal(0, 0.5, s.shape).astype(s.dtype), dict(shapes))
    heard = rng.normal(size=(1, 40, config.frontend.feature_size)).astype(np.float32)
    batch = (heard, np.array([40]), np.array([[3, 9]]), np.array([2]))
    calibrating = RNNT(config.model, policy.calibration())
    _, ranges = calibrating.apply(params, *batch, mutable=[QUANT_STATS])
    bins = np.zeros(config.frontend.log_mel.num_mel_bins, np.float32)
    Recognizer(
        config,
        policy,
        jax.tree.map(np.asarray, {**params, **ranges}),
        Frontend(config.frontend, FeatureStats(bins - 6, bins + 3)),
        CharacterTokenizer(),
        {"stage": "calibration", "step": 1},
    ).save(directory)
    return directory


def export(model, corpora, output, *arguments):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "experiments.export", f"--model={model}"),
            *(f"--data_dir={corpora}", f"--output={output}", "--test=librispeech/by_speaker:test"),
            *("--targets=u55-128", "--chunks=1", *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def utterances(output):
    folder = output / "evaluation"
    (name,) = json.loads((folder / "results.json").read_text())["results"]
    # Sums of floating point depend on the number of rows of a device.
    return [dataclasses.replace(u, log_prob=0.0) for u in load_result(folder / name).utterances]


def formats(artefact):
    """Returns an artefact's manifest without what says how it was made."""
    manifest = json.loads((artefact / "manifest.json").read_text())
    return {key: manifest[key] for key in manifest.keys() - {"origin", "sha256"}}


@pytest.mark.slow
def test_two_processes_export_as_one_does(tmp_path):
    model, corpora = save(tmp_path / "models/calibration"), tones.prepare(tmp_path)
    options = (f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2")
    finish(
        export(model, corpora, tmp_path / "one"),
        *(
            export(model, corpora, tmp_path / "two", *options, f"--process_id={number}")
            for number in (0, 1)
        ),
    )
    (one,) = (tmp_path / "one").glob("*/artefact")
    (two,) = (tmp_path / "two").glob("*/artefact")
    assert checksums(two)["arrays.npz"] == checksums(one)["arrays.npz"]
    assert formats(two) == formats(one)
    graphs = sorted(
        path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.tflite")
    )
    assert len(graphs) >= 3
    for graph in graphs:
        assert (tmp_path / "two" / graph).read_bytes() == (tmp_path / "one" / graph).read_bytes()
    assert utterances(tmp_path / "two") == utterances(tmp_path / "one")
    provenance = json.loads((tmp_path / "two/evaluation/provenance.json").read_text())
    assert provenance["processes"] == 2
