"""A trained recognizer on integers alone: the same program, fed with what a chip's memory holds."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rnnt_qat.fixedpoint import wide
from rnnt_qat.layers.dense import DENSE_SITES
from rnnt_qat.layers.lstm import LSTM_SITES
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.joint import JOINT_SITES
from rnnt_qat.models.prediction import StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.nna_operators import NnaOperators
from rnnt_qat.quant.operators import OperatorSet, Value
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.quantized_module import RANGES, check_calibrated
from rnnt_qat.quant.scales import bias_range, weight_range
from rnnt_qat.quant.sites import Sites
from rnnt_qat.typing import Array, PyTree

Path = tuple[str, ...]

_REAL = np.zeros((1, 1), np.float32)
"""Silence that is on no grid: features, or what a layer off the accelerator hands on."""


def freeze(model: RNNT, variables: PyTree) -> BoundTransducer:
    """The recognizer on integer parameters, states and activations.

    Layers that the policy leaves off the accelerator keep their parameters.

    Args:
      model: under its training policy.
      variables: its trained parameters and calibrated ranges.

    Raises:
      ValueError: a range was never calibrated; names it.
    """
    check_calibrated(variables[RANGES])
    return BoundTransducer(
        variables=frozen_variables(model, variables),
        model=RNNT(model.config, model.policy.for_serving()),
    )


def frozen_variables(model: RNNT, variables: PyTree) -> PyTree:
    """Variables of the model under ``policy.for_serving()``.

    Kernels and the embedding become int8 or int16, biases int32 (``Wide`` where the accumulator is
    wider than that); ranges of kernels join the calibrated ones, the only floats that are left.
    """
    # In one program: operator by operator, each of hundreds would be compiled for itself.
    return jax.jit(lambda variables: _frozen(model, variables))(variables)


def _frozen(model: RNNT, variables: PyTree) -> PyTree:
    freezer, config = _Freezer(model.policy.for_serving(), variables), model.config
    xs: Value = _REAL
    for index in range(config.encoder.num_layers):
        xs = freezer.lstm(("encoder", f"lstm_{index}"), xs)
    freezer.product(("encoder", "projection"), DENSE_SITES, xs)

    first, layers = "projection", 0
    if not isinstance(config.prediction, StatelessPredictionConfig):
        first, layers = "lstm_0", config.prediction.num_layers
    sites = LSTM_SITES if layers else DENSE_SITES
    xs = freezer.embedding(("prediction", "embedding"), ("prediction", first), sites)
    for index in range(layers):
        xs = freezer.lstm(("prediction", f"lstm_{index}"), xs)
    freezer.product(("prediction", "projection"), DENSE_SITES, xs)

    freezer.product(("joint",), JOINT_SITES, freezer.held(("joint",), JOINT_SITES, "hidden"))
    return {"params": unflatten_dict(freezer.params), RANGES: unflatten_dict(freezer.ranges)}


class _Freezer:
    """Follows silence through the layers: a bias is what it leaves in an accumulator."""

    def __init__(self, policy: PrecisionPolicy, variables: PyTree) -> None:
        self._policy = policy
        self.params: dict[Path, Any] = flatten_dict(variables["params"])
        self.ranges: dict[Path, Any] = flatten_dict(variables[RANGES])

    def lstm(self, path: Path, xs: Value) -> Value:
        """Freezes an LSTM that hears ``xs``; its hidden state at rest."""
        self.product(path, LSTM_SITES, xs, "input_kernel")
        ops = self._operators(path, LSTM_SITES)
        if isinstance(ops, NnaOperators):
            self._kernel(path, ops, "recurrent_kernel")
        return self.held(path, LSTM_SITES, "hidden")

    def product(self, path: Path, sites: Sites, xs: Value, kernel: str = "kernel") -> None:
        """Freezes the kernel and bias of a product that takes ``xs``."""
        ops = self._operators(path, sites)
        if not isinstance(ops, NnaOperators):
            return
        if "input" in sites:
            xs = ops.input("input", xs)
        real_bias = self.params[*path, "bias"]
        weights = self._kernel(path, ops, kernel, xs, real_bias)
        width = weights.values.shape[0]
        silence = xs.replace(values=jnp.zeros((1, width), xs.values.dtype))
        bias = ops.accumulate(silence, weights, real_bias)
        self.params[*path, "bias"] = (
            bias.values[0] if bias.low is None else wide.from_limbs(bias.values[0], bias.low[0])
        )

    def embedding(self, path: Path, reader: Path, sites: Sites) -> Value:
        """Freezes the table in the format of the layer that reads its rows."""
        ops = self._operators(reader, sites)
        if not isinstance(ops, NnaOperators):
            return _REAL
        held = ops.store("input", self.params[path])
        self.params[path] = held.values
        return held

    def held(self, path: Path, sites: Sites, site: str) -> Value:
        """Silence as a site holds it."""
        ops = self._operators(path, sites)
        if not isinstance(ops, NnaOperators):
            return _REAL
        dtype = ops.spec.tensor(sites[site]).format.storage
        return ops.load(site, jnp.zeros((1, 1), dtype))

    def _kernel(
        self,
        path: Path,
        ops: NnaOperators,
        site: str,
        xs: Value | None = None,
        bias: Array | None = None,
    ) -> Value:
        kernel = self.params[*path, site]
        tensor = ops.spec.tensor(dict(ops.sites)[site])
        weights = ops.weight(site, kernel, xs, bias)
        self.params[*path, site] = weights.values
        if (*path, site) not in self.ranges:  # it is there where it was trained
            self.ranges[*path, site] = weight_range(tensor, kernel)
        if xs is not None and bias is not None:
            needed = bias_range(ops.spec, xs.scale, bias, kernel.shape[0])
            self.ranges[*path, site] = jnp.maximum(self.ranges[*path, site], needed)
        return weights

    def _operators(self, path: Path, sites: Sites) -> OperatorSet:
        precision = self._policy.resolve(path)
        calibrated = precision.calibrated_roles()
        ranges = {
            site: self.ranges[*path, site]
            for site, role in sites.items()
            if role in calibrated and (*path, site) in self.ranges
        }
        return precision.operators(sites, ranges)
