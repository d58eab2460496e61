"""A linen module that gets its operators from a precision policy."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnt_qat.quant.operators import FloatOperators, OperatorSet
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.qtensor import QTensor, dequantize
from rnnt_qat.quant.sites import Role, Sites
from rnnt_qat.typing import Array, DTypeLike, PyTree

RANGES = "quant_stats"
"""Collection of calibrated ranges: ``max_abs`` a site, zero until something was observed."""


class QuantizedModule(nn.Module):
    """Base of the layers that compute on a chip.

    Attributes:
      policy: precision of every layer of the model; this one's is found by its path.
    """

    policy: PrecisionPolicy

    def operators(self, sites: Sites) -> OperatorSet:
        """The layer's operators; call once, in the module's method, before any scan."""
        precision = self.policy.resolve(self.path)
        calibrated = precision.calibrated_roles()
        max_abs = {
            site: self.variable(RANGES, site, jnp.zeros, ()).value
            for site, role in sites.items()
            if role in calibrated
        }
        if self.policy.calibrating:
            return FloatOperators()
        return precision.operators(sites, max_abs)

    def state_dtype(self, role: Role) -> DTypeLike:
        """In what the layer carries a streaming state of that role."""
        if self.policy.calibrating:
            return jnp.float32
        return self.policy.resolve(self.path).state_dtype(role)

    def observe(self, mask: Array | None = None, **values: Array | QTensor) -> None:
        """Records the ranges of the sites named; does nothing unless the policy is calibrating.

        Args:
          mask: True where a leading position ``[B, T]`` is valid; padding has no say in a range.
          **values: real arrays by site.
        """
        if not self.policy.calibrating:
            return
        for site, value in values.items():
            if not self.has_variable(RANGES, site):
                continue
            magnitude = jnp.abs(dequantize(value).astype(jnp.float32))
            if mask is not None:
                magnitude = jnp.where(
                    mask.reshape(mask.shape + (1,) * (magnitude.ndim - mask.ndim)), magnitude, 0.0
                )
            seen = jnp.maximum(self.get_variable(RANGES, site), magnitude.max())
            self.put_variable(RANGES, site, seen)


def check_calibrated(ranges: Mapping[str, PyTree]) -> None:
    """Refuses ranges that calibration never reached: they would store everything as zero."""
    unseen = [
        "/".join(str(getattr(key, "key", key)) for key in path)
        for path, value in jax.tree_util.tree_leaves_with_path(ranges)
        if not float(value) > 0.0
    ]
    if unseen:
        raise ValueError(
            f"no range was calibrated for {', '.join(unseen)}: run the calibration stage on "
            "batches that reach these sites before training or evaluating with this policy"
        )
