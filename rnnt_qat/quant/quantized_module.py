"""A linen module that gets its operators from a precision policy."""

import operator
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.quant.diagnostics import DIAGNOSTICS, Recorder, Tally
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.observers import MaxObserver, Observer
from rnnt_qat.quant.operators import FloatOperators, OperatorSet
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.qtensor import QTensor, dequantize
from rnnt_qat.quant.sites import Role, Sites
from rnnt_qat.typing import Array, DTypeLike, PyTree

RANGES = "quant_stats"
"""Collection of calibrated ranges: ``max_abs`` a site, zero until something was observed."""
_OBSERVED = ".observed"


class QuantizedModule(nn.Module):
    """Base of the layers that compute on a chip.

    Attributes:
      policy: precision of every layer of the model; this one's is found by its path.
    """

    policy: PrecisionPolicy

    def operators(self, sites: Sites) -> OperatorSet:
        """The layer's operators; call once, in the module's method, before any scan.

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
            site: self.variable(RANGES, site, jnp.zeros, ()).value
            for site, role in sites.items()
            if role in calibrated
        }
        if self.policy.calibrating:
            for site in max_abs:
                observer, name = self._observer(sites, site)
                if name != site:
                    self.variable(RANGES, name, observer.initial_state)
            return FloatOperators()
        operators = precision.operators(sites, max_abs)
        return Recorder(operators, self._note) if self.policy.diagnosing else operators

    def _note(self, name: str, tally: Tally) -> None:
        self.sow(DIAGNOSTICS, name, tally, reduce_fn=operator.add, init_fn=Tally.zero)

    def state_dtype(self, role: Role) -> DTypeLike:
        """In what the layer carries a streaming state of that role."""
        if self.policy.calibrating:
            return jnp.float32
        return self.policy.resolve(self.path).state_dtype(role)

    def observe(self, sites: Sites, mask: Array | None = None, **values: Array | QTensor) -> None:
        """Records the ranges of the sites named, and of the layer's kernels if they are trained.

        Does nothing unless the policy is calibrating.

        Args:
          sites: what the layer's ``operators`` were made for.
          mask: True where a leading position ``[B, T]`` is valid; padding has no say in a range.
          **values: real arrays by site.
        """
        if not self.policy.calibrating:
            return
        mask = jnp.bool_(True) if mask is None else mask
        for site, value in values.items():
            if not self.has_variable(RANGES, site):
                continue
            observer, name = self._observer(sites, site)
            state = observer.observe(self.get_variable(RANGES, name), dequantize(value), mask)
            self.put_variable(RANGES, name, state)
            self.put_variable(RANGES, site, observer.max_abs(state))
        precision = self.policy.resolve(self.path)
        if isinstance(precision, OnAccelerator) and precision.trained_ranges:
            for site, role in ((site, role) for site, role in sites.items() if role.is_kernel):
                kernel: Array = self.get_variable("params", site)
                self.put_variable(RANGES, site, precision.kernel_range(role, kernel))

    def cover(self, site: str, values: Array) -> None:
        """Widens a site's range to values that are all known; call after the layer itself.

        An observer hears an embedding's rows as often as their labels are spoken, and never those
        of labels that calibration lacks; but the rows are constants, which nothing clips.

        Args:
          site: where the values are stored.
          values: real, every one that the site will ever hold.
        """
        if self.policy.calibrating and self.has_variable(RANGES, site):
            heard: Array = self.get_variable(RANGES, site)
            self.put_variable(RANGES, site, jnp.maximum(heard, jnp.abs(values).max()))

    def _observer(self, sites: Sites, site: str) -> tuple[Observer, str]:
        """A site's observer, and the variable that holds its state."""
        bits = self.policy.resolve(self.path).tensor_format(sites[site]).bits
        observer = self.policy.observer_of(self.path).for_bits(bits)
        return observer, site if isinstance(observer, MaxObserver) else site + _OBSERVED


def calibrated_ranges(ranges: PyTree) -> PyTree:
    """The ranges alone, without what observers keep beside them while they calibrate."""
    return {
        name: calibrated_ranges(value) if isinstance(value, Mapping) else value
        for name, value in ranges.items()
        if not name.endswith(_OBSERVED)
    }


def check_calibrated(ranges: Mapping[str, PyTree]) -> None:
    """Refuses ranges that calibration never reached: they would store everything as zero."""
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
