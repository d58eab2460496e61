"""A small untrained recognizer on a chip, that says much about noise, and its artefact."""

import dataclasses
import functools

import jax
import numpy as np

from rnnt_qat.artefact.artefact import Artefact
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.export.freeze import freeze
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import to_json
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.quant.policies import policy_by_name

MAX_SYMBOLS = 2
POLICY = "ethos_u_8x8_16"
FRAME_S = 0.08


@functools.cache
def recognizer() -> Recognizer:
    """8 mel bins, 40 ms frames halved to 80 ms, LSTMs of 8 units, random and calibrated."""
    frontend = FrontendConfig(LogMelConfig(num_mel_bins=8), stack=4)
    encoder = EncoderConfig(
        num_layers=1, hidden_size=8, layers_before_reduction=0, time_reduction=2
    )
    prediction = LSTMPredictionConfig(embedding_size=4, hidden_size=8, num_layers=1)
    model = RNNTConfig(vocabulary=7, encoder=encoder, prediction=prediction, joint_size=8)
    split = (Split("none", "test"),)
    config = ExperimentConfig(
        DataConfig(split, split, split),
        model,
        precision=POLICY,
        frontend=frontend,
        pipeline=dataclasses.replace(
            ExperimentConfig(DataConfig(split, split, split), model).pipeline, frame_multiple=2
        ),
        evaluation=EvaluationConfig(GreedyConfig(MAX_SYMBOLS)),
    )
    policy = policy_by_name(POLICY)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 12, frontend.feature_size)).astype(np.float32)
    batch = (features, np.array([12]), np.array([[1, 5, 2]]), np.array([3]))
    calibrating = RNNT(model, policy.calibration())

    @jax.jit
    def observe(key):
        variables = calibrating.init(key, *batch)
        params = jax.tree.map(lambda p: 3 * p, variables["params"])
        params["joint"]["bias"] = params["joint"]["bias"].at[0].set(1.5)
        _, ranges = calibrating.apply(
            {**variables, "params": params}, *batch, mutable="quant_stats"
        )
        return {"params": params, **ranges}

    stats = FeatureStats(np.full(8, -5, "f"), np.full(8, 2, "f"))
    return Recognizer(
        config,
        policy,
        observe(jax.random.key(1)),
        Frontend(frontend, stats),
        CharacterTokenizer(" abcde"),
        {"stage": "aware", "step": 1},
    )


def artefact() -> Artefact:
    """The same in integers."""
    tiny = recognizer()
    stats = tiny.frontend.stats
    return Artefact(
        freeze(tiny.model, tiny.variables),
        ("", *map(tiny.tokenizer.piece, range(1, 7))),
        to_json(tiny.frontend.config)
        | {"mean": np.asarray(stats.mean).tolist(), "std": np.asarray(stats.std).tolist()},
        MAX_SYMBOLS,
    )


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """int16 noise whose loudness comes and goes."""
    rng = np.random.default_rng(seed)
    size = int(16_000 * seconds)
    loudness = np.exp(rng.normal(6, 2, -(-size // 4000))).repeat(4000)[:size]
    return np.clip(loudness * rng.normal(size=size), -32768, 32767).astype(np.int16)
