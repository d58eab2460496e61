"""A linen module that gets its operators from a precision policy."""

import operator
from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.quant.diagnostics import DIAGNOSTICS, Recorder, Tally
from rnnt_qat.quant.mean_operands import OperandRecorder, OperandSum
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.observers import MaxObserver, Observer
from rnnt_qat.quant.operators import FloatOperators, OperatorSet
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.qtensor import QTensor, dequantize
from rnnt_qat.quant.sites import Role, Sites
from rnnt_qat.typing import Array, DTypeLike, PyTree

QUANT_STATS = "quant_stats"
"""Name of the variable collection that holds ``max_abs`` of each site; 0 before calibration."""
_OBSERVED = ".observed"


class QuantizedModule(nn.Module):
    """Base class of the layers that compute on a chip.

    Attributes:
      policy: precision of every layer of the model; the module path selects this layer's.
      bias_blocks: kernels whose product is added to another that has the layer's ``bias``: the
        block of the bias, as wide as the kernel, that they share. Products with a bias of their
        own need no entry, and those without any have none (``quant.bias_correction``).
      typical_operands: whether calibration multiplies by what recognition will, as often, so that
        the mean operand may correct the layer's bias.
    """

    bias_blocks: ClassVar[Mapping[str, int]] = {}
    typical_operands: ClassVar[bool] = True

    policy: PrecisionPolicy

    def operators(self, sites: Sites) -> OperatorSet:
        """Returns the layer's operators; to be called once per module call, outside any scan.

        Args:
          sites: the layer's tensors by name, with their roles.

        Raises:
          ValueError: the layer's precision has no format for a site.
        """
        precision = self.policy.resolve(self.path)
        for site, role in sites.items():
            if not precision.holds(role):
                raise ValueError(
                    f"policy {self.policy.name!r}: layer {'/'.join(self.path)} has a tensor "
                    f"{site!r} of role {role.name}, which its chip cannot hold; leave the layer "
                    "off the chip, or add the role to the chip's tensors"
                )
        calibrated = precision.calibrated_roles()
        max_abs = {
            site: self.variable(QUANT_STATS, site, jnp.zeros, ()).value
            for site, role in sites.items()
            if role in calibrated
        }
        if self.policy.calibrating:
            for site in max_abs:
                observer, name = self._observer(sites, site)
                if name != site:
                    self.variable(QUANT_STATS, name, observer.initial_state)
            observing = self.policy.observing_operands and self.typical_operands
            return OperandRecorder(self._note_operand) if observing else FloatOperators()
        operators = precision.operators(sites, max_abs)
        return Recorder(operators, self._note) if self.policy.diagnosing else operators

    def _note(self, name: str, tally: Tally) -> None:
        self.sow(DIAGNOSTICS, name, tally, reduce_fn=operator.add, init_fn=Tally.zero)

    def _note_operand(self, kernel: str, operand: OperandSum) -> None:
        name = operand_name(kernel)
        if self.has_variable(QUANT_STATS, name):
            operand = self.get_variable(QUANT_STATS, name) + operand
        self.put_variable(QUANT_STATS, name, operand)

    def state_dtype(self, role: Role) -> DTypeLike:
        """Returns the dtype in which the layer carries a streaming state of role ``role``."""
        if self.policy.calibrating:
            return jnp.float32
        return self.policy.resolve(self.path).state_dtype(role)

    def observe(self, sites: Sites, mask: Array | None = None, **values: Array | QTensor) -> None:
        """Records the ranges of the given sites and, if they are trained, of the layer's kernels.

        Does nothing unless the policy is calibrating.

        Args:
          sites: the sites for which ``operators`` was called.
          mask: True where a leading position ``[B, T]`` is valid; padding is not observed.
          **values: real-valued arrays by site.
        """
        if not self.policy.calibrating:
            return
        mask = jnp.bool_(True) if mask is None else mask
        for site, value in values.items():
            if not self.has_variable(QUANT_STATS, site):
                continue
            observer, name = self._observer(sites, site)
            state = observer.observe(self.get_variable(QUANT_STATS, name), dequantize(value), mask)
            self.put_variable(QUANT_STATS, name, state)
            self.put_variable(QUANT_STATS, site, observer.max_abs(state))
        precision = self.policy.resolve(self.path)
        if isinstance(precision, OnAccelerator) and precision.trained_ranges:
            for site, role in ((site, role) for site, role in sites.items() if role.is_kernel):
                kernel: Array = self.get_variable("params", site)
                self.put_variable(QUANT_STATS, site, precision.kernel_range(role, kernel))

    def cover(self, site: str, values: Array) -> None:
        """Widens the range of a site to a complete set of values; to be called after ``observe``.

        An observer sees the rows of an embedding as often as their labels occur, and never the rows
        of labels that are absent from the calibration data. The rows are constants, so none of them
        should be clipped.

        Args:
          site: the site at which the values are stored.
          values: all real values that the site can hold.
        """
        if self.policy.calibrating and self.has_variable(QUANT_STATS, site):
            observed: Array = self.get_variable(QUANT_STATS, site)
            self.put_variable(QUANT_STATS, site, jnp.maximum(observed, jnp.abs(values).max()))

    def _observer(self, sites: Sites, site: str) -> tuple[Observer, str]:
        """Returns the observer of a site and the name of the variable that holds its state."""
        bits = self.policy.resolve(self.path).tensor_format(sites[site]).bits
        observer = self.policy.observer_of(self.path).for_bits(bits)
        return observer, site if isinstance(observer, MaxObserver) else site + _OBSERVED


def operand_name(kernel: str) -> str:
    """Returns the name of the variable beside the ranges that holds a kernel's ``OperandSum``."""
    return f"{kernel}.operand{_OBSERVED}"


def calibrated_ranges(ranges: PyTree) -> PyTree:
    """Returns the ranges without the state that observers store beside them."""
    return {
        name: calibrated_ranges(value) if isinstance(value, Mapping) else value
        for name, value in ranges.items()
        if not name.endswith(_OBSERVED)
    }


def check_calibrated(ranges: Mapping[str, PyTree]) -> None:
    """Raises an error for ranges that are zero: their sites would store every value as zero.

    Args:
      ranges: the ``quant_stats`` collection of a model.

    Raises:
      ValueError: names the sites without a positive range.
    """
    unseen = [
        "/".join(str(getattr(key, "key", key)) for key in path)
        for path, value in jax.tree_util.tree_leaves_with_path(calibrated_ranges(ranges))
        if not np.all(np.asarray(value) > 0.0)
    ]
    if unseen:
        raise ValueError(
            f"no range was calibrated for {', '.join(unseen)}: run the calibration stage on "
            "batches that reach these sites before training or evaluating with this policy (a "
            "trained range that fell to zero asks for a lower learning rate)"
        )
