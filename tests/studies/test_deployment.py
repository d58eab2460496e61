"""Exports that a runtime would refuse."""

import types

import numpy as np
import pytest

from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.export.rnnt_graphs import Boundary, prediction_step
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.studies import deployment
from tests.export.random_integers import random_rnnt


def test_graphs_are_loaded_in_every_runtime_before_any_is_written(tmp_path, monkeypatch):
    """TFLM has no lookup of 16-bit rows: a prediction step that asks for one is refused."""
    stats = FeatureStats(np.zeros(24, np.float32), np.ones(24, np.float32))
    recognizer = types.SimpleNamespace(
        tokenizer=CharacterTokenizer(" abcdefghij"),
        frontend=Frontend(FrontendConfig(LogMelConfig(num_mel_bins=24), stack=1), stats),
        policy=policy_by_name("ethos_u_16x8"),
        config=types.SimpleNamespace(evaluation=types.SimpleNamespace(search=GreedyConfig())),
        origin={},
    )
    monkeypatch.setattr(deployment, "save", lambda artefact, folder: None)
    monkeypatch.setattr(
        deployment,
        "prediction_step",
        lambda model: prediction_step(model, Boundary(lookup_inside=True)),
    )
    model = random_rnnt(np.random.default_rng(0), wide=True)
    with pytest.raises(ValueError, match="the graph 'prediction': TFLM refuses the graph"):
        deployment.export_recognizer(recognizer, model, [1], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
