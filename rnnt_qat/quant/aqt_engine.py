"""The integer matrix product by AQT; no other file imports aqt.

AQT quantizes inside its dot_general, with its own rounding (ties to even). A chip has its own
rounding, so operands arrive quantized, and two of AQT's extension points leave them unchanged: a
calibration whose scale is one, and a numerics that only changes the carrier. AQT contributes the
integer product: an int8 x int8 dot accumulated in int32 where the backend has one, or the same
integers carried by float32 where int8 dots are slow (CPU) and the sum stays below 2^24. The
gradient is that of ``matmul``, because a product of integers is linear.
"""

from typing import Any

import jax
import jax.numpy as jnp
from aqt.jax.v2 import aqt_dot_general, calibration, config, utils
from aqt.jax.v2.numerics import numerics

from rnnt_qat.quant.matmul import matmul
from rnnt_qat.quant.straight_through import straight_through
from rnnt_qat.typing import Array, Float

FLOAT32_EXACT_BOUND = 2**24
"""float32 represents every integer up to this magnitude, so partial sums below it are exact."""


@utils.flax_slots_kw_only_dataclass
class _UnitScale(calibration.Calibration):
    """Calibration for operands that are integers: their scale is one."""

    def get_scale_and_bias_and_sparsity(self, x, shared_axes, numerics_, context=None):
        shape = [1 if axis in shared_axes else size for axis, size in enumerate(x.shape)]
        return [jnp.ones(shape, x.dtype)], [], None


@utils.flax_slots_kw_only_dataclass
class _OnGrid(numerics.AqtNumerics):
    """Numerics that only change the carrier dtype of integers; the gradient passes through."""

    carrier: Any = utils.static_field()

    def get_quant_bound(self):
        return 1.0

    def get_dtype(self):
        return self.carrier

    def vjp_fwd(self, x, context):
        return x.astype(self.carrier), ()

    def vjp_bwd(self, res, grad):
        return (grad, None)


def _engine(carrier: Any) -> aqt_dot_general.DotGeneral:
    """Returns AQT's dot_general for operands of dtype ``carrier``, with a float32 backward pass."""
    engine = config.dot_general_make(lhs_bits=8, rhs_bits=8, bwd_bits=None)
    config.set_fwd_calibration_mode(
        engine,
        lhs_calibration_mode=aqt_dot_general.CalibrationMode.CONTRACTING_AXIS,
        rhs_calibration_mode=aqt_dot_general.CalibrationMode.CONTRACTING_AXIS,
    )
    config.set_numerics(engine.fwd, _OnGrid(carrier=carrier), _OnGrid(carrier=carrier))
    config.set_fwd_calibration(engine, _UnitScale)
    engine.fwd.dg_accumulator_dtype = jnp.int32 if carrier == jnp.int8 else None
    return engine


def float32_carries(contraction: int, lhs_bits: int, rhs_bits: int) -> bool:
    """Returns whether float32 holds every sum of products of two's complement operands.

    Args:
      contraction: number of products in the sum.
      lhs_bits: width of the left operands.
      rhs_bits: width of the right operands.
    """
    return contraction * 2 ** (lhs_bits - 1) * 2 ** (rhs_bits - 1) <= FLOAT32_EXACT_BOUND


def integer_matmul(
    x: Float[Array, "*S K"], w: Float[Array, "K M"], *, carrier: Any = None
) -> Float[Array, "*S M"]:
    """Computes the exact product of 8-bit integers; linear and differentiable in both operands.

    Args:
      x: integers in [-128, 127], as float32.
      w: integers in [-127, 127], as float32.
      carrier: jnp.int8 or jnp.float32; None selects float32 on CPU while it is exact, else int8.

    Returns:
      The accumulator as float32: exact while it stays within 2^24 (always, for K <= 1,032).

    Raises:
      ValueError: ``carrier`` is float32 and K is too large for it.
    """
    if carrier is None:
        on_cpu = jax.default_backend() == "cpu"
        carrier = jnp.float32 if on_cpu and float32_carries(w.shape[0], 8, 8) else jnp.int8
    if carrier == jnp.float32 and not float32_carries(w.shape[0], 8, 8):
        raise ValueError(
            f"float32 cannot carry a sum of {w.shape[0]} int8 products exactly (limit 2^24); "
            "use carrier=jnp.int8"
        )
    dims = (((x.ndim - 1,), (0,)), ((), ()))
    product = _engine(carrier)(jax.lax.stop_gradient(x), jax.lax.stop_gradient(w), dims)
    return straight_through(product, matmul(x, w))
