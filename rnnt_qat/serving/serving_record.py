"""The record of a recognizer's serving programs: what its layers ask of a chip."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from rnnt_qat.accelerators.spec import Operator
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.recorded import Call, Path, Record, recorded
from rnnt_qat.quant.sites import Sites
from rnnt_qat.typing import BLANK_ID, Array, Float, PyTree

_OPERATORS = {operator.value: operator for operator in Operator}


@dataclass(frozen=True)
class Parameter:
    """What holds a parameter on the chip.

    Attributes:
      layer: layer whose precision it is under.
      site: site whose format it has; empty for a bias, which has the accumulator's.
    """

    layer: Path
    site: str


def serve_once(model: RNNT, features: Float[Array, "B T F"]) -> None:
    """Runs each serving program once: an encoder chunk, a prediction step, a joint step.

    Args:
      model: bound.
      features: one chunk.
    """
    batch = features.shape[0]
    encoded, _, _ = model.encode(features, jnp.ones(features.shape[:2], bool))
    labels = jnp.full((batch, 1), BLANK_ID, jnp.int32)
    predicted, _ = model.predict(labels, jnp.ones((batch, 1), bool))
    model.head().logits(encoded[:, 0], predicted[:, 0])


@functools.lru_cache(maxsize=8)
def serving_record(config: RNNTConfig, feature_size: int) -> Record:
    """Layers and calls of the serving programs; needs no parameters."""
    frames = jax.ShapeDtypeStruct(_chunk_shape(config, feature_size), jnp.float32)
    with recorded() as record:
        jax.eval_shape(
            functools.partial(RNNT(config, FLOAT32).init, method=serve_once),
            jax.random.key(0),
            frames,
        )
    return record


def layer_sites(record: Record) -> dict[Path, Sites]:
    """Sites of each layer, by module path; layers without any are left out."""
    return dict(sorted((layer.path, layer.sites) for layer in record.layers if layer.sites))


def features_reader(record: Record) -> Call:
    """The call that takes the features: the first ``input``."""
    return next(call for call in record.calls if call.operator == "input")


def table_readers(record: Record) -> dict[Path, Call]:
    """The call that takes a table's rows, by the path of the table: the next ``input``.

    Raises:
      ValueError: no layer takes them, or the table is no parameter.
    """
    readers: dict[Path, Call] = {}
    pending: list[Path] = []
    for call in record.calls:
        if call.operator == "lookup":
            pending.append(parameter_path(call))
        elif call.operator == "input":
            readers |= dict.fromkeys(pending, call)
            pending = []
    if pending:
        raise ValueError(f"no layer takes the rows of {'/'.join(pending[0])} as its input")
    return readers


def parameter_path(call: Call) -> Path:
    """Path of the parameter that went into a call.

    Raises:
      ValueError: it is no parameter of the layer, or not as it is.
    """
    if call.parameter is None:
        raise ValueError(
            f"layer {'/'.join(call.layer.path)}: {call.operator} took a kernel, bias or table that "
            "is not a parameter of the layer as it is; give the operator what self.param returned, "
            "outside of any scan"
        )
    return (*call.layer.path, call.parameter)


def parameters(record: Record) -> dict[Path, Parameter]:
    """What holds each parameter, by its path."""
    readers = table_readers(record)
    found = {path: Parameter(call.layer.path, call.site) for path, call in readers.items()}
    for call in record.calls:
        has_bias = call.operator == "accumulate" and call.operands[2] is not None
        if call.operator == "weight" or has_bias:
            found[parameter_path(call)] = Parameter(call.layer.path, call.site)
    return found


def written_by(record: Record) -> dict[tuple[Path, str], tuple[Operator, ...]]:
    """Operators whose results each site holds, by layer and site, in order of computation."""
    accumulated: list[object] = []  # kept, so that no other object gets an identity of theirs
    found: dict[tuple[Path, str], dict[Operator, None]] = {}
    for call in record.calls:
        if call.operator == "accumulate":
            accumulated.append(call.result)
            continue
        if call.operator in ("weight", "lookup"):
            continue
        writers = found.setdefault((call.layer.path, call.site), {})
        if any(operand is each for operand in call.operands for each in accumulated):
            writers[Operator.DOT] = None
        if call.operator in _OPERATORS:
            writers[_OPERATORS[call.operator]] = None
    return {site: tuple(writers) for site, writers in found.items()}


def feature_size(config: RNNTConfig, params: PyTree) -> int:
    """Width of the features that a model's parameters are made for."""
    narrow = jax.eval_shape(
        functools.partial(RNNT(config, FLOAT32).init, method=serve_once),
        jax.random.key(0),
        jax.ShapeDtypeStruct(_chunk_shape(config, 1), jnp.float32),
    )
    shapes = flatten_dict(params)
    for path, leaf in flatten_dict(narrow["params"]).items():
        if leaf.shape != shapes[path].shape:  # the kernel that takes the features
            return shapes[path].shape[0] // leaf.shape[0]
    return 1


def _chunk_shape(config: RNNTConfig, feature_size: int) -> tuple[int, ...]:
    features, *_ = jax.eval_shape(functools.partial(example_inputs, config, feature_size))
    return features.shape
