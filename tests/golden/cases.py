"""Tiny seeded recognizers whose integers are kept: what a change of the code must not change.

Parameters, ranges and features come from NumPy's generator, whose streams stay the same from
version to version; nothing here depends on sums in floating point.
"""

import dataclasses
import hashlib
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rnnt_qat.export.freeze import freeze as export_freeze
from rnnt_qat.export.rnnt_graphs import encoder_chunk, joint_step, prediction_step
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig, StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS, calibrated_ranges
from rnnt_qat.serving.freeze import freeze
from rnnt_qat.typing import BLANK_ID

FEATURES, FRAMES, CHUNK = 5, 12, 4
EXPORTED = ("ethos_u_8x8_16", "ethos_u_16x8")
PREDICTIONS = {
    "lstm": LSTMPredictionConfig(embedding_size=4, hidden_size=6),
    "stateless": StatelessPredictionConfig(embedding_size=4, context=2),
}
POLICIES = tuple(
    chip + bits for chip, bits in itertools.product(("generic_nna", *EXPORTED), ("", "_w4"))
)
CASES = tuple(f"{policy}/{prediction}" for policy in POLICIES for prediction in PREDICTIONS)


def model_config(prediction):
    """Every kind of layer, a few numbers wide."""
    return RNNTConfig(
        vocabulary=7,
        encoder=EncoderConfig(
            num_layers=2, hidden_size=6, layers_before_reduction=1, time_reduction=2
        ),
        prediction=PREDICTIONS[prediction],
        joint_size=6,
    )


def random_variables(config, policy, seed=0):
    """Parameters and ranges of a model under a chip's policy, as calibration leaves them."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(
        RNNT(config, policy.calibration()).init,
        jax.random.key(0),
        *example_inputs(config, FEATURES),
    )
    params = {
        path: rng.normal(0.0, 0.9, leaf.shape).astype(np.float32)
        for path, leaf in sorted(flatten_dict(shapes["params"]).items())
    }
    params["joint", "bias"][BLANK_ID] = 1.5  # labels and blanks
    ranges = {
        path: rng.uniform(1.0, 4.0, leaf.shape).astype(np.float32)
        for path, leaf in sorted(flatten_dict(calibrated_ranges(shapes[QUANT_STATS])).items())
    }
    return {"params": unflatten_dict(params), QUANT_STATS: unflatten_dict(ranges)}


def random_features(seed=1):
    """Features of one utterance, ``[T, F]``."""
    return np.random.default_rng(seed).normal(0.0, 1.5, (FRAMES, FEATURES)).astype(np.float32)


def digest(tree):
    """Hash of every array in a tree, with its dtype and shape; of the path to each too."""
    parts = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        parts.append((jax.tree_util.keystr(path), str(array.dtype), array.shape, array.tobytes()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def stream(transducer, features):
    """Tokens of a greedy search in chunks, and every integer result and state on the way."""

    @jax.jit
    def encode(transducer, chunk, state):
        return transducer.encode(chunk, jnp.ones(chunk.shape[:2], bool), state)

    @jax.jit
    def predict(transducer, label, state):
        return transducer.predict(label, state)

    @jax.jit
    def likeliest(transducer, encoded, predicted):
        return jnp.argmax(transducer.joint(encoded, predicted), axis=-1)

    encoder_state = transducer.initial_encoder_state(1)
    label = jnp.full((1,), BLANK_ID, jnp.int32)
    predicted, state = predict(transducer, label, transducer.initial_prediction_state(1))
    tokens, seen = [], [(predicted, state)]
    for start in range(0, FRAMES, CHUNK):
        chunk = features[None, start : start + CHUNK]
        encoded, _, encoder_state = encode(transducer, chunk, encoder_state)
        seen.append((encoded, encoder_state))
        for frame in range(encoded.shape[1]):
            for _ in range(2):
                label = likeliest(transducer, encoded[:, frame], predicted)
                if int(label[0]) == BLANK_ID:
                    break
                tokens.append(int(label[0]))
                predicted, state = predict(transducer, label.astype(jnp.int32), state)
                seen.append((predicted, state))
    return tokens, digest([_plain(each) for each in seen])


def _plain(tree):
    """Leaves alone: names of the containers' fields may change."""
    return jax.tree.leaves(tree)


def integers(case):
    """What is kept of a case, as JSON."""
    policy_name, prediction = case.split("/")
    policy, config = policy_by_name(policy_name), model_config(prediction)
    model, variables = RNNT(config, policy), random_variables(config, policy)
    transducer = freeze(model, variables)
    frozen = {}
    for collection, leaves in transducer.variables.items():
        for path, leaf in sorted(flatten_dict(leaves).items()):
            if path[0] != "ctc":
                layer = "/".join((collection, *path[:-1]))
                frozen[layer] = digest([frozen.get(layer, ""), path[-1], *_plain(leaf)])
    tokens, steps = stream(transducer, random_features())
    kept = {"frozen": frozen, "tokens": tokens, "steps": steps}
    if policy_name.removesuffix("_w4") in EXPORTED:
        exported = export_freeze(model, variables)
        graphs = {
            "encoder": encoder_chunk(exported, CHUNK),
            "prediction": prediction_step(exported),
            "joint": joint_step(exported),
        }
        kept["graphs"] = {
            name: hashlib.sha256(graph).hexdigest()[:16] for name, graph in graphs.items()
        }
        kept["artefact"] = {
            network: digest([part for pair in _arrays(getattr(exported, network)) for part in pair])
            for network in ("encoder", "prediction", "joint")
        }
    return kept


def _arrays(value, path=""):
    """Arrays and formats of a tree of dataclasses, by path."""
    if isinstance(value, np.ndarray):
        yield path, value
    elif isinstance(value, tuple):
        for n, item in enumerate(value):
            yield from _arrays(item, f"{path}.{n}")
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _arrays(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, float) or re.search("zero_point|context|reduction", path):
        yield path, np.asarray(value, np.float64)
