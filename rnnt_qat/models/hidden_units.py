"""Hidden units of plain LSTM layers: the weights of a unit, and networks without some units.

A unit has its columns in the kernels and the bias of all four gates, its row in the recurrent
kernel, and its rows in the kernels that read the layer's output. A unit whose columns are zero has
the cell state and the output zero at every frame, so the network without it computes the same.

Reference: Wen et al., "Learning Intrinsic Sparse Structures within Long Short-Term Memory" (2018).
"""

import dataclasses
from collections.abc import Iterator, Mapping

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from rnnt_qat.models.prediction import StatelessPredictionConfig
from rnnt_qat.models.recurrent import LSTMConfig, hidden_size_of
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.typing import Array, Bool, Float, Int, PyTree

ENCODER, PREDICTION = "encoder", "prediction"


@dataclasses.dataclass(frozen=True)
class UnitWeights:
    """The weights of a layer's units in one parameter.

    Attributes:
      path: path of the parameter.
      axis: axis of the units. Its length is a multiple of the number of units: the units of each
        gate, or of each frame that the time reduction stacks, follow one another.
      incoming: whether the units compute with these weights; if not, they are read with them.
    """

    path: str
    axis: int
    incoming: bool


@dataclasses.dataclass(frozen=True)
class UnitLayer:
    """The units of one LSTM layer.

    Attributes:
      path: module path of the layer, e.g. ``encoder/lstm_0``.
      width: number of units H.
      weights: where their weights are.
    """

    path: str
    width: int
    weights: tuple[UnitWeights, ...]


def unit_layers(params: PyTree) -> tuple[UnitLayer, ...]:
    """Returns the plain LSTM layers of a transducer.

    Args:
      params: the network's parameters, arrays or shapes.
    """
    return tuple(_unit_layers(flatten_dict(params, sep="/")))


def _unit_layers(leaves: Mapping[str, Array]) -> Iterator[UnitLayer]:
    for network in (ENCODER, PREDICTION):
        number = 0
        while f"{network}/lstm_{number}/recurrent_kernel" in leaves:
            layer = f"{network}/lstm_{number}"
            following = f"{network}/lstm_{number + 1}/input_kernel"
            reader = following if following in leaves else f"{network}/projection/kernel"
            of_teacher = [f"state_projection_{number}/{state}" for state in ("hidden", "cell")]
            yield UnitLayer(
                layer,
                leaves[f"{layer}/recurrent_kernel"].shape[0],
                (
                    UnitWeights(f"{layer}/input_kernel", 1, True),
                    UnitWeights(f"{layer}/recurrent_kernel", 1, True),
                    UnitWeights(f"{layer}/bias", 0, True),
                    UnitWeights(f"{layer}/recurrent_kernel", 0, False),
                    UnitWeights(reader, 0, False),
                    *(
                        UnitWeights(path, 0, False)
                        for path in of_teacher
                        if network == ENCODER and path in leaves
                    ),
                ),
            )
            number += 1


def living_units(params: PyTree) -> dict[str, Bool[Array, "H"]]:
    """Returns which units have a nonzero incoming weight or bias, by layer.

    Args:
      params: the network's parameters.
    """
    leaves = flatten_dict(params, sep="/")

    def living(layer: UnitLayer) -> Bool[Array, "H"]:
        incoming = [weights for weights in layer.weights if weights.incoming]
        counts = [_of_units(leaves[w.path] != 0, w.axis, layer.width).sum(1) for w in incoming]
        return sum(counts[1:], start=counts[0]) > 0

    return {layer.path: living(layer) for layer in unit_layers(params)}


def unit_norms(params: PyTree) -> dict[str, Float[Array, "H"]]:
    """Returns the Euclidean norm of each unit's weights in all kernels, by layer.

    Biases are left out: that of a forget gate starts at one and says nothing of the unit's use.

    Args:
      params: the network's parameters.
    """
    leaves = flatten_dict(params, sep="/")

    def norms(layer: UnitLayer) -> Float[Array, "H"]:
        kernels = [weights for weights in layer.weights if leaves[weights.path].ndim > 1]
        squares = [_of_units(leaves[w.path] ** 2, w.axis, layer.width).sum(1) for w in kernels]
        return jnp.sqrt(sum(squares[1:], start=squares[0]))

    return {layer.path: norms(layer) for layer in unit_layers(params)}


def with_zero_units(params: PyTree, kept: Mapping[str, Bool[Array, "H"]]) -> PyTree:
    """Returns the parameters with all weights of some units set to zero.

    Args:
      params: the network's parameters.
      kept: True for the units to leave as they are, by layer; other layers stay as they are.
    """
    leaves = flatten_dict(params, sep="/")
    for layer in unit_layers(params):
        if layer.path in kept:
            for weights in layer.weights:
                leaf = leaves[weights.path]
                mask = jnp.tile(kept[layer.path], leaf.shape[weights.axis] // layer.width)
                shape = [-1 if axis == weights.axis else 1 for axis in range(leaf.ndim)]
                leaves[weights.path] = jnp.where(mask.reshape(shape), leaf, 0.0)
    return unflatten_dict(leaves, sep="/")


def without_dead_units(params: PyTree, widths: Mapping[str, int]) -> PyTree:
    """Returns the parameters of a network with fewer units; can be traced.

    Units that live come first, so that outputs are equal if no layer has more of them than remain.

    Args:
      params: the network's parameters.
      widths: number of units that remain, by layer; other layers stay as they are.
    """
    leaves, living = flatten_dict(params, sep="/"), living_units(params)
    for layer in unit_layers(params):
        if widths.get(layer.path, layer.width) < layer.width:
            first = jnp.argsort(~living[layer.path], stable=True)[: widths[layer.path]]
            chosen = jnp.sort(first)
            for weights in layer.weights:
                index = _in_every_part(chosen, leaves[weights.path].shape[weights.axis], layer)
                leaves[weights.path] = jnp.take(leaves[weights.path], index, axis=weights.axis)
    return unflatten_dict(leaves, sep="/")


def lstm_widths(model: RNNTConfig) -> dict[str, int]:
    """Returns the hidden width of each plain LSTM layer, by module path."""
    return {
        f"{name}/lstm_{number}": width
        for name, network in ((ENCODER, model.encoder), (PREDICTION, model.prediction))
        if not isinstance(network, StatelessPredictionConfig)
        and isinstance(network.layer, LSTMConfig)
        for number, width in enumerate(network.hidden_sizes)
    }


def with_lstm_widths(model: RNNTConfig, widths: Mapping[str, int]) -> RNNTConfig:
    """Returns the model with other hidden widths.

    Args:
      model: sizes of the model.
      widths: hidden widths of all its plain LSTM layers, by module path.
    """

    def size(name: str):
        return hidden_size_of([w for path, w in widths.items() if path.startswith(f"{name}/")])

    changed = {
        name: dataclasses.replace(getattr(model, name), hidden_size=size(name))
        for name in (ENCODER, PREDICTION)
        if any(path.startswith(f"{name}/") for path in widths)
    }
    return dataclasses.replace(model, **changed)


def _of_units(leaf: Array, axis: int, width: int) -> Array:
    """Returns the elements of each unit: ``[H, N]``."""
    moved = jnp.moveaxis(leaf, axis, 0)
    return moved.reshape(-1, width, moved.size // moved.shape[0]).swapaxes(0, 1).reshape(width, -1)


def _in_every_part(chosen: Int[Array, "K"], length: int, layer: UnitLayer) -> Int[Array, "..."]:
    """Returns the indices of chosen units in all parts of an axis: gates or stacked frames."""
    parts = jnp.arange(length // layer.width)[:, None] * layer.width
    return (parts + chosen).reshape(-1)
