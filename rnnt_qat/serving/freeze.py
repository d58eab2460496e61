"""Freezes a trained recognizer: the same program on the integers that a chip's memory holds."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from rnnt_qat.fixedpoint import wide
from rnnt_qat.models.binding import layer_sites, require_every_rule_used
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.models.serving_record import feature_size, serve_once
from rnnt_qat.quant.nna_operators import NnaOperators
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.quantized_module import QUANT_STATS, check_calibrated
from rnnt_qat.quant.recorded import Call, Path, Record, parameter_path, recorded, table_readers
from rnnt_qat.quant.scales import bias_range
from rnnt_qat.typing import PyTree


def freeze(model: RNNT, variables: PyTree) -> BoundTransducer:
    """Returns the recognizer with integer parameters, states and activations.

    Layers that the policy leaves off the accelerator keep their parameters.

    Args:
      model: the model under its training policy.
      variables: its trained parameters and calibrated ranges.

    Raises:
      ValueError: a range is not calibrated, or no operator reads a parameter; names it.
    """
    check_calibrated(variables[QUANT_STATS])
    return BoundTransducer(
        variables=frozen_variables(model, variables),
        model=RNNT(model.config, model.policy.for_serving()),
    )


def frozen_variables(model: RNNT, variables: PyTree) -> PyTree:
    """Returns the variables of the model under ``policy.for_serving()``.

    Kernels and tables become int8 or int16, biases int32 (``Wide`` if the accumulator has more than
    32 bits). The ranges of kernels are added to the calibrated ones; ranges are the only remaining
    floats. The serving programs run once on real parameters, and the integers that each operator
    makes of its parameter are the frozen ones.

    Args:
      model: the model under its training policy.
      variables: its trained parameters and calibrated ranges.

    Raises:
      ValueError: a rule of the policy matches no layer, or no operator reads a parameter.
    """
    require_every_rule_used(model.config, model.policy)
    width = feature_size(model.config, variables["params"])
    return _frozen(model, variables, width)


# One program, because otherwise each of hundreds of operators would be compiled separately.
@partial(jax.jit, static_argnums=(0, 2))
def _frozen(model: RNNT, variables: PyTree, width: int) -> PyTree:
    policy = model.policy.for_serving()
    params, ranges = flatten_dict(variables["params"]), flatten_dict(variables[QUANT_STATS])
    sites = layer_sites(model.config)
    for path in sites:
        precision = policy.resolve(path)
        if isinstance(precision, OnAccelerator):
            for site, role in sites[path].items():
                # trained ranges are there already
                if role.is_kernel and (*path, site) not in ranges:
                    ranges[*path, site] = precision.kernel_range(role, params[*path, site])
    chunk = jnp.zeros((1, model.config.encoder.time_reduction, width))
    with recorded() as record:
        RNNT(model.config, policy).apply(
            {"params": unflatten_dict(params), QUANT_STATS: unflatten_dict(ranges)},
            chunk,
            method=serve_once,
        )
    frozen = _integers(record)
    for call in record.calls:
        if call.operator == "weight" and isinstance(call.operators, NnaOperators):
            path, (kernel, x, bias) = (*call.layer.path, call.site), call.operands
            if bias is not None:
                role = call.layer.sites[call.site]
                needed = bias_range(call.operators.spec, role, x.scale, bias, kernel.shape[0])
                ranges[path] = jnp.maximum(ranges[path], needed)
    on_chip = {path for path in sites if isinstance(policy.resolve(path), OnAccelerator)}
    left = [path for path in params if path[:-1] in on_chip and path not in frozen]
    if left:
        raise ValueError(
            f"{'/'.join(left[0])} is a parameter of a layer on the chip that no operator took: "
            "give it to weight, accumulate or lookup, or the chip cannot hold it"
        )
    return {
        "params": unflatten_dict(params | frozen),
        QUANT_STATS: unflatten_dict(ranges),
    }


def _integers(record: Record) -> dict[Path, Any]:
    """Returns the integers that operators of a chip made of their parameters, by path."""
    frozen: dict[Path, Any] = {}
    for call in record.calls:
        if not isinstance(call.operators, NnaOperators):
            continue
        if call.operator == "weight":
            frozen[parameter_path(call)] = call.result.values
        elif call.operator == "accumulate" and call.operands[2] is not None:
            frozen[parameter_path(call)] = _bias(call)
    tables = {parameter_path(c): c.operands[0] for c in record.calls if c.operator == "lookup"}
    for path, reader in table_readers(record).items():
        if isinstance(reader.operators, NnaOperators):
            frozen[path] = reader.operators.store(reader.site, tables[path]).values
    return frozen


def _bias(call: Call) -> Any:
    """Returns a bias in the accumulator: the accumulator of an all-zero input."""
    x, weights, bias = call.operands
    silence = x.replace(
        values=jnp.zeros((1, weights.values.shape[0]), x.values.dtype), integers=None
    )
    left = call.operators.accumulate(silence, weights, bias)
    if left.low is None:
        return left.values[0]
    return wide.from_limbs(left.values[0], left.low[0])
