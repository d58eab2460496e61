"""The audit of a recognizer's serving programs: encoder chunk, prediction step, joint, argmax."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from rnnt_qat.fixedpoint.dot import argmax
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.models.serving_record import serving_record
from rnnt_qat.quant.audit import Kind, OffChip, off_chip_operators
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.quant.recorded import features_reader
from rnnt_qat.serving.freeze import frozen_variables
from rnnt_qat.typing import PyTree

_STREAMS = 2
_CHUNK = 2
"""Number of encoder frames in the traced chunk."""


def audit(config: RNNTConfig, policy: PrecisionPolicy, feature_size: int) -> tuple[OffChip, ...]:
    """Returns the operators of the frozen recognizer that its chip does not compute.

    It needs no parameters. Features enter as the first layer stores them, because the frontend
    quantizes them.

    Args:
      config: configuration of the model.
      policy: precision of every layer.
      feature_size: width of the features.
    """
    found: set[OffChip] = set()
    for program, kinds in _programs(config, policy, feature_size):
        found |= set(off_chip_operators(program, kinds, policy))
    return tuple(sorted(found))


def _programs(
    config: RNNTConfig, policy: PrecisionPolicy, feature_size: int
) -> Iterator[tuple[Any, list[Kind]]]:
    """Yields each program as a closed jaxpr, with the kinds of its arguments."""
    model = RNNT(config, policy)
    inputs = example_inputs(config, feature_size)
    trained = {QUANT_STATS: {}, **jax.eval_shape(model.init, jax.random.key(0), *inputs)}
    variables = jax.eval_shape(lambda v: frozen_variables(model, v), trained)
    serving = RNNT(config, policy.for_serving())

    def trace(method: Any, *arguments: tuple[PyTree, Kind]) -> tuple[Any, list[Kind], Any]:
        values = [value for value, _ in arguments]
        program, shapes = jax.make_jaxpr(
            lambda v, *a: serving.apply(v, *a, method=method), return_shape=True
        )(variables, *values)
        kinds = [Kind.CONSTANT] * len(jax.tree.leaves(variables))
        for value, kind in arguments:
            kinds += [kind] * len(jax.tree.leaves(value))
        return program, kinds, shapes

    frames = _CHUNK * config.encoder.time_reduction
    reader = features_reader(serving_record(config))
    precision = policy.for_serving().resolve(reader.layer.path)
    dtype = precision.state_dtype(reader.layer.sites[reader.site])
    encoder_state, prediction_state = jax.eval_shape(
        lambda v: serving.apply(v, method=_initial_states), variables
    )
    program, kinds, (encoded, _, _) = trace(
        RNNT.encode,
        (jax.ShapeDtypeStruct((_STREAMS, frames, feature_size), dtype), Kind.DATA),
        (jax.ShapeDtypeStruct((_STREAMS, frames), jnp.bool_), Kind.INDEX),
        (encoder_state, Kind.DATA),
    )
    yield program, kinds
    is_labels = all(jnp.issubdtype(s.dtype, jnp.int32) for s in jax.tree.leaves(prediction_state))
    program, kinds, (predicted, _) = trace(
        RNNT.predict,
        (jax.ShapeDtypeStruct((_STREAMS, 1), jnp.int32), Kind.INDEX),
        (jax.ShapeDtypeStruct((_STREAMS, 1), jnp.bool_), Kind.INDEX),
        (prediction_state, Kind.INDEX if is_labels else Kind.DATA),
    )
    yield program, kinds
    pair = jax.ShapeDtypeStruct((_STREAMS, config.joint_size), encoded.dtype)
    other = jax.ShapeDtypeStruct((_STREAMS, config.joint_size), predicted.dtype)
    program, kinds, _ = trace(_likeliest, (pair, Kind.DATA), (other, Kind.DATA))
    yield program, kinds


def _initial_states(model: RNNT) -> tuple[PyTree, PyTree]:
    return model.encoder.initial_state(_STREAMS), model.prediction.initial_state(_STREAMS)


def _likeliest(model: RNNT, encoded: Any, predicted: Any) -> Any:
    head = model.head()
    with jax.named_scope("joint"):
        return argmax(head.ops.values(head.logits(encoded, predicted)))
