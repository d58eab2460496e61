"""The serving program of an artefact: its integers as variables of the JAX model again.

``freeze`` writes an artefact; ``thaw`` is its inverse. The result computes in JAX what the player
computes in NumPy, in batches and under ``vmap``, and ``freeze.laid_out`` returns the integers of
the artefact from it, which ``thaw`` checks.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from rnnt_qat.accelerators.spec import Grain, TensorSpec
from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.layer_integers import DenseIntegers, LstmIntegers, RecurrentIntegers
from rnnt_qat.export.freeze import FreezeError, laid_out
from rnnt_qat.fixedpoint.wide import Wide
from rnnt_qat.models.binding import layer_sites
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig, StatelessPredictionConfig
from rnnt_qat.models.recurrent import HiddenSize, hidden_size_of
from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.quant.recorded import Path
from rnnt_qat.quant.scales import range_to_scale
from rnnt_qat.typing import Array, Float, PyTree


class ThawError(FreezeError):
    """An artefact that has no serving program; the message names the layer or the field."""


def thaw(integers: RnntIntegers, policy: PrecisionPolicy) -> BoundTransducer:
    """Returns the serving program of a recognizer whose recurrent layers are plain LSTMs.

    Args:
      integers: the integers of an artefact.
      policy: the training policy that they were frozen under.

    Raises:
      ThawError: a layer is no plain LSTM, or the program would not have the artefact's integers;
        names the first field that differs.
    """
    config = _config(integers)
    model = RNNT(config, policy)
    advice = "thaw it under the policy that it was frozen under (origin.policy)"
    try:
        ranges = {
            (*path, site): scale_to_range(tensor, scale)
            for path, site, tensor, scale in _scales(model, integers)
        }
        params = unflatten_dict(_params(integers))
        variables = {"params": params, QUANT_STATS: unflatten_dict(ranges)}
        difference = first_difference(integers, laid_out(model, variables))
    except ValueError as error:
        raise ThawError(f"policy {policy.name!r} does not fit: {error}; {advice}") from error
    if difference:
        raise ThawError(
            f"{difference} of the artefact is not what policy {policy.name!r} makes of its "
            f"integers: {advice}"
        )
    return BoundTransducer(variables=variables, model=RNNT(config, policy.for_serving()))


def scale_to_range(tensor: TensorSpec, scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns a range of which ``quant.scales.range_to_scale`` makes a given scale.

    Args:
      tensor: the chip's format.
      scale: a scale that the format can have.

    Raises:
      ThawError: the format cannot have it.
    """
    wanted = np.asarray(scale, np.float32)
    factor = 2.0 ** (tensor.format.bits - 1) if tensor.power_of_two else tensor.format.maximum
    product = wanted * np.float32(factor)
    # The division that makes a scale of a range rounds, or rounds up to the chip's scale_bits, so
    # that the range lies some units beside the product.
    found = np.full_like(wanted, np.nan)
    for steps in (0, -1, 1, -2, 2, -4):
        tried = product + steps * np.spacing(product)
        equal = np.asarray(range_to_scale(tensor, jnp.asarray(tried))) == wanted
        found = np.where(np.isnan(found) & equal, tried, found)
    if np.isnan(found).any():
        raise ThawError(f"{tensor.role.name} cannot have the scale {scale}: {tensor}")
    return jnp.asarray(found, jnp.float32)


def first_difference(ours: Any, theirs: Any, name: str = "model") -> str:
    """Returns the path of the first field in which two trees of integers differ, or nothing.

    Args:
      ours: a tree of dataclasses, tuples, arrays and values.
      theirs: another.
      name: path of both.
    """
    if type(ours) is not type(theirs):
        return name
    if isinstance(ours, np.ndarray):
        equal = ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
        return "" if equal else name
    if dataclasses.is_dataclass(ours):
        fields = [f.name for f in dataclasses.fields(ours)]
        pairs = ((f"{name}.{f}", getattr(ours, f), getattr(theirs, f)) for f in fields)
    elif isinstance(ours, tuple) and len(ours) == len(theirs):
        pairs = ((f"{name}.{n}", *both) for n, both in enumerate(zip(ours, theirs, strict=True)))
    else:
        return "" if ours == theirs else name
    return next(filter(None, (first_difference(a, b, path) for path, a, b in pairs)), "")


def _config(integers: RnntIntegers) -> RNNTConfig:
    """Returns the sizes of the model."""
    encoder, prediction = integers.encoder, integers.prediction
    size = prediction.embedding.shape[1]
    if prediction.layers:
        second: Any = LSTMPredictionConfig(
            embedding_size=size,
            hidden_size=_hidden_size("prediction", prediction.layers),
            num_layers=len(prediction.layers),
        )
    else:
        second = StatelessPredictionConfig(embedding_size=size, context=prediction.context)
    return RNNTConfig(
        vocabulary=integers.vocabulary,
        encoder=EncoderConfig(
            num_layers=len(encoder.layers),
            hidden_size=_hidden_size("encoder", encoder.layers),
            layers_before_reduction=encoder.layers_before_reduction,
            time_reduction=encoder.time_reduction,
        ),
        prediction=second,
        joint_size=integers.joint.width,
        ctc_head=False,
    )


def _hidden_size(network: str, layers: tuple[RecurrentIntegers, ...]) -> HiddenSize:
    for index, layer in enumerate(layers):
        if not isinstance(layer, LstmIntegers):
            raise ThawError(
                f"{network}/{layer.cell_kind}_{index} is no plain LSTM: only the integers of LSTMs "
                "are turned into a serving program again"
            )
    return hidden_size_of([layer.output_size for layer in layers])


def _lstms(integers: RnntIntegers) -> Iterator[tuple[Path, LstmIntegers]]:
    for name, network in (("encoder", integers.encoder), ("prediction", integers.prediction)):
        for index, layer in enumerate(network.layers):
            assert isinstance(layer, LstmIntegers)  # _hidden_size has checked
            yield (name, f"lstm_{index}"), layer


def _products(integers: RnntIntegers) -> Iterator[tuple[Path, DenseIntegers]]:
    yield ("encoder", "projection"), integers.encoder.projection
    yield ("prediction", "projection"), integers.prediction.projection
    yield ("joint",), integers.joint.output


def _params(integers: RnntIntegers) -> dict[Path, PyTree]:
    found: dict[Path, PyTree] = {("prediction", "embedding"): integers.prediction.embedding}
    for path, layer in _lstms(integers):
        for site, kernel in (("input_kernel", layer.w_ih), ("recurrent_kernel", layer.w_hh)):
            found[*path, site] = kernel.reshape(-1, kernel.shape[2]).T
        found[*path, "bias"] = _bias(layer.bias.reshape(-1))
    for path, dense in _products(integers):
        assert dense.bias is not None  # the layers of a recognizer have one
        found[*path, "kernel"] = dense.weights.T
        found[*path, "bias"] = _bias(dense.bias)
    return {
        path: value if isinstance(value, Wide) else jnp.asarray(value)
        for path, value in found.items()
    }


def _bias(bias: np.ndarray) -> Any:
    """Returns int32, or two words if the accumulator has more than 32 bits."""
    if bias.dtype == np.int32:
        return bias
    low = (bias & 0xFFFFFFFF).astype(np.uint32)
    return Wide(jnp.asarray((bias >> 32).astype(np.int32)), jnp.asarray(low))


def _scales(
    model: RNNT, integers: RnntIntegers
) -> Iterator[tuple[Path, str, TensorSpec, Float[Array, "..."]]]:
    """Yields the calibrated scale of every site of the serving program, with its format."""
    known: dict[Path, dict[str, Any]] = {}
    for path, layer in _lstms(integers):
        known[path] = {
            "input": layer.input.scale,
            "hidden": layer.hidden.scale,
            "cell": layer.cell.scale,
            "input_kernel": layer.w_ih_scale,
            "recurrent_kernel": layer.w_hh_scale,
        }
    for path, dense in _products(integers):
        known[path] = {"input": dense.input.scale, "kernel": dense.weight_scale}
    joint = integers.joint
    known["joint",] |= {
        "encoded": integers.encoder.projection.output.scale,
        "predicted": integers.prediction.projection.output.scale,
        "hidden_pre": joint.sum.scale,
        "hidden": joint.hidden.scale,
        "logits": joint.output.output.scale,
    }
    for path, sites in layer_sites(model.config).items():
        precision = model.policy.for_serving().resolve(path)
        if not isinstance(precision, OnAccelerator):
            raise ThawError(
                f"layer {'/'.join(path)} is not on a chip under policy {model.policy.name!r}"
            )
        for site, role in sites.items():
            if role in precision.calibrated_roles():
                if site not in known.get(path, {}):
                    raise ThawError(
                        f"the artefact does not hold the scale of {'/'.join((*path, site))}"
                    )
                tensor, scale = precision.spec.tensor(role), np.asarray(known[path][site])
                if tensor.grain is Grain.TENSOR and scale.ndim:
                    scale = scale.flat[0]  # a scale of the whole kernel, repeated for each gate
                yield path, site, tensor, jnp.asarray(scale, jnp.float32)
