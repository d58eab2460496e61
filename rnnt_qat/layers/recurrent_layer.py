"""Steps that every recurrent layer takes around its recurrence."""

import jax.numpy as jnp

from rnnt_qat.quant.operators import OperatorSet, Value
from rnnt_qat.quant.qtensor import map_values
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.typing import Array, Bool, Num


class RecurrentLayer(QuantizedModule):
    """A layer that computes frame by frame; a ``StreamingLayer``."""

    @property
    def block_size(self) -> int:
        """1: a chunk may have any number of frames."""
        return 1


def time_major(xs: Value, mask: Bool[Array, "B T"]) -> Value:
    """Moves time to the leading axis and sets invalid frames to zero.

    NaN in the padding would otherwise spread through the products.

    Args:
      xs: frames ``[B, T, D]``.
      mask: True where the frame is valid.

    Returns:
      Frames ``[T, B, D]``.
    """
    return map_values(lambda v: jnp.where(mask[..., None], v, 0).swapaxes(0, 1), xs)


def batch_major(xs: Value) -> Value:
    """Moves time back behind the batch: ``[T, B, D]`` to ``[B, T, D]``."""
    return map_values(lambda v: v.swapaxes(0, 1), xs)


def gate_inputs(ops: OperatorSet, xs: Value, kernel: Value, bias: Value) -> Num[Array, "T B G"]:
    """Computes the products of all frames with the input kernel, before the recurrence.

    Args:
      ops: operators of the layer, with the sites ``input_kernel`` and ``gate_input``.
      xs: frames ``[T, B, D]``.
      kernel: input weights ``[D, G]`` of all gates, real or frozen.
      bias: bias ``[G]`` of all gates, added in the accumulator.

    Returns:
      Stored values of the site ``gate_input``.
    """
    accumulated = ops.accumulate(xs, ops.weight("input_kernel", kernel, xs, bias), bias)
    return ops.values(ops.store("gate_input", accumulated))


def before_each_step(first: Num[Array, "B H"], after: Num[Array, "T B H"]) -> Num[Array, "T B H"]:
    """Returns the states before each step.

    Args:
      first: state before the first step.
      after: states after each step.
    """
    return jnp.concatenate([first[None], after[:-1]])
