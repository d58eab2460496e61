"""Whole recognizers of a few units, their parameters and ranges of every size, in all decoders."""

import functools

import jax
import numpy as np

from rnnt_qat.artefact.player import Player, greedy, quantize_features
from rnnt_qat.export.freeze import freeze
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.serving.freeze import freeze as freeze_for_serving
from rnnt_qat.typing import PyTree
from rnnt_qat.verify.trace import Traced, compare_traces
from rnnt_qat.verify.transducer_replay import TransducerRecognizer
from rnnt_qat.verify.verification import Agreement, UtteranceFeatures, verify

CONFIG = RNNTConfig(
    vocabulary=5,
    encoder=EncoderConfig(num_layers=2, hidden_size=3, layers_before_reduction=1, time_reduction=2),
    prediction=LSTMPredictionConfig(embedding_size=3, hidden_size=3),
    joint_size=4,
    ctc_head=False,
)
FEATURES, FRAMES, SYMBOLS = 3, 6, 2


def recognizer(rng: np.random.Generator, chip: str) -> list[Agreement]:
    """Draws a recognizer and an utterance and decodes it by every decoder.

    Args:
      rng: what everything is drawn from.
      chip: name of its policy.

    Returns:
      How the training forward, the serving program and both runtimes compare with the player.

    Raises:
      ValueError: the artefact refuses what was drawn; names the tensor.
    """
    model, shapes = _template(chip)
    wild = bool(rng.random() < 0.7)
    variables = {
        "params": jax.tree.map(lambda leaf: _parameter(rng, leaf.shape, wild), shapes["params"]),
        QUANT_STATS: jax.tree.map(lambda leaf: _range(rng, wild), shapes[QUANT_STATS]),
    }
    integers = freeze(model, variables)
    scale = integers.encoder.layers[0].input.scale
    loudness = scale * np.iinfo(integers.encoder.layers[0].input.dtype).max / 2
    features = (loudness * rng.normal(size=(FRAMES, FEATURES))).astype(np.float32)
    served = freeze_for_serving(model, variables)
    found = verify(integers, served, [UtteranceFeatures("drawn", features)], (1, 2), SYMBOLS)
    trained = TransducerRecognizer(BoundTransducer(variables, model), integers)
    ours, theirs = Traced(Player(integers)), Traced(trained)
    chunk = CONFIG.encoder.time_reduction
    quantized = quantize_features(features, integers.encoder.layers[0].input)
    greedy(ours, quantized, chunk, SYMBOLS)
    greedy(theirs, features, chunk, SYMBOLS)
    compared = compare_traces(ours.steps, theirs.steps)
    first = "" if compared.first is None else str(compared.first)
    training = Agreement(
        "JAX training forward",
        1,
        integers=compared.integers,
        differing_integers=compared.differing,
        first_difference=first,
    )
    return [*found.agreements, training]


@functools.cache
def _template(chip: str) -> tuple[RNNT, PyTree]:
    """The model, and the shapes of its parameters and calibrated ranges."""
    model = RNNT(CONFIG, policy_by_name(chip))
    return model, jax.eval_shape(model.init, jax.random.key(0), *example_inputs(CONFIG, FEATURES))


def _parameter(rng: np.random.Generator, shape: tuple[int, ...], wild: bool) -> np.ndarray:
    size = 10.0 ** rng.uniform(-12, 2) if wild and rng.random() < 0.4 else rng.uniform(0.5, 2)
    values = size * rng.normal(size=shape)
    if wild and rng.random() < 0.05:
        values = 0 * values
    return values.astype(np.float32)


def _range(rng: np.random.Generator, wild: bool) -> np.ndarray:
    reach = rng.uniform(-30, 6) if wild and rng.random() < 0.3 else rng.uniform(-1, 3)
    return np.float32(2.0**reach)
