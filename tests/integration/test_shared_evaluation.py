"""Two processes that share an evaluation write the report that one alone writes."""

import dataclasses
import json
import math
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
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.policies import FLOAT32
from tests.experiments import tones, tones_config
from tests.integration.test_distributed import finish, free_port


def save(directory):
    """Saves a random model that emits a few labels a second."""
    config = tones_config.experiment()
    bins = np.zeros(config.frontend.log_mel.num_mel_bins, np.float32)
    inputs = example_inputs(config.model, config.frontend.feature_size)
    shapes = jax.eval_shape(RNNT(config.model, FLOAT32).init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.normal(0, 0.5, s.shape).astype(s.dtype), dict(shapes))
    frontend = Frontend(config.frontend, FeatureStats(bins - 6, bins + 3))
    Recognizer(
        config, FLOAT32, variables, frontend, CharacterTokenizer(), {"stage": "float", "step": 1}
    ).save(directory)
    return directory


def evaluate(model, corpora, output, *arguments):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "experiments.evaluate", f"--models={model}"),
            *(f"--data_dir={corpora}", f"--output={output}", "--test=librispeech/by_speaker:train"),
            *("--beam_size=0", "--timed_repeats=0", *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def result(folder):
    (name,) = json.loads((folder / "results.json").read_text())["results"]
    return load_result(folder / name)


@pytest.mark.slow
def test_two_processes_evaluate_as_one_does(tmp_path):
    model, corpora = save(tmp_path / "models/float"), tones.prepare(tmp_path)
    options = (f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2")
    finish(
        evaluate(model, corpora, tmp_path / "one"),
        *(
            evaluate(model, corpora, tmp_path / "two", *options, f"--process_id={number}")
            for number in (0, 1)
        ),
    )
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert sum(len(utterance.tokens) for utterance in one.utterances) > 10
    for alone, shared in zip(one.utterances, two.utterances, strict=True):
        # Sums of floating point depend on the number of rows of a device.
        assert math.isclose(alone.log_prob, shared.log_prob, rel_tol=1e-5)
        assert dataclasses.replace(alone, log_prob=0.0) == dataclasses.replace(shared, log_prob=0.0)
    processes = [
        json.loads((tmp_path / name / "provenance.json").read_text())["processes"]
        for name in ("one", "two")
    ]
    assert processes == [1, 2]
