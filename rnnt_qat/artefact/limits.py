"""Limits of the integer kernels' words; formats that could exceed them are rejected.

The kernels of LiteRT and TFLM (and the chips that follow them) saturate a result to its format, but
only after it has passed through a 32-bit word. A sum beyond its accumulator, or a rescaled result
of 2^31 or more, wraps without an error, or aborts the runtime. The checks compute the worst case
over all inputs from the actual weights, so no accepted recognizer can reach such a value.
"""

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact.rescaled_operators import ADD_SHIFT
from rnnt_qat.artefact.tensor_format import TensorFormat

_RESULT_BITS = 30
"""Results must stay below 2^30: TFLM first shifts an accumulator left, by up to twice the ratio."""
_FINEST_TANH = 2.0**-27
"""Finest input scale of TFLM's int8 TANH.

TFLM multiplies by the scale times 2^27 and requires a left shift of at least 0.
"""


def check_product(
    where: str,
    weights: Integer[np.ndarray, "M K"],
    bias: Integer[np.ndarray, "M"] | None,
    formats: tuple[TensorFormat, TensorFormat, TensorFormat],
    wide_bits: int,
) -> None:
    """Checks that no input overflows a FULLY_CONNECTED or a product of the fused LSTM.

    Args:
      where: name of the layer in the error message.
      weights: int8 weights.
      bias: at the scale of the product.
      formats: formats of input, weights and output.
      wide_bits: width of the accumulator of int16 inputs.

    Raises:
      ValueError: some input does; names the layer, the output and what to change.
    """
    input_format, weight_format, output_format = formats
    limits = np.iinfo(input_format.dtype)
    reach = max(limits.max - input_format.zero_point, input_format.zero_point - limits.min)
    largest = np.abs(weights.astype(np.int64)).sum(axis=1) * reach
    if bias is not None:
        largest = largest + np.abs(bias.astype(np.int64))
    is_wide = np.dtype(input_format.dtype) == np.int16
    bits = wide_bits if is_wide else 32
    worst = int(np.argmax(largest))
    if largest[worst] >= 2 ** (bits - 1):
        raise ValueError(
            f"{where}: output {worst} sums up to {largest[worst]:.3g} in an accumulator of {bits} "
            "bits, where runtimes wrap: its bias is too large for the scale of its weights, or it "
            "has too many inputs; freeze it again (the weights' scale is raised for a large bias) "
            "or make the layer narrower"
        )
    if is_wide:
        # A 16-bit multiplier has no left shift, so a product of one step must stay below 2^14.
        largest = np.maximum(largest, 2 ** (_RESULT_BITS - 14))
    ratio = (
        np.float64(input_format.scale)
        * np.asarray(weight_format.scale, np.float64)
        / output_format.scale
    )
    check_result(where, float((largest * ratio).max(initial=0.0)))


def check_result(where: str, largest: float) -> None:
    """Checks that results fit the word from which they are saturated.

    Args:
      where: name of the result in the error message.
      largest: largest magnitude, in steps of its format.

    Raises:
      ValueError: they do not; names the result and what to change.
    """
    if not largest < 2.0**_RESULT_BITS:
        raise ValueError(
            f"{where}: results reach {largest:.3g} steps of their format before they saturate, and "
            f"runtimes wrap from 2^{_RESULT_BITS} on: the format's range is far too small for what "
            "is stored in it; calibrate it on data that reach its real range"
        )


def check_requantize(where: str, source: TensorFormat, output: TensorFormat) -> None:
    """Checks that no input overflows a QUANTIZE.

    Args:
      where: name of the tensor in the error message.
      source: format of the input.
      output: format of the result.

    Raises:
      ValueError: some input does.
    """
    limits = np.iinfo(source.dtype)
    reach = max(limits.max - source.zero_point, source.zero_point - limits.min)
    check_result(where, reach * source.scale / output.scale)


def check_add(where: str, formats: tuple[TensorFormat, TensorFormat, TensorFormat]) -> None:
    """Checks for an ADD that every runtime aborts on: the result is much finer than its addends.

    Args:
      where: name of the sum in the error message.
      formats: formats of the addends and the sum.

    Raises:
      ValueError: it is; names the sum and what to change.
    """
    first, second, output = formats
    shift = ADD_SHIFT[np.dtype(first.dtype)]
    coarsest = max(first.scale, second.scale)
    if 2 * coarsest >= 2.0**shift * output.scale:
        raise ValueError(
            f"{where} has steps of {output.scale:.3g}, more than 2^{shift - 2} times finer than "
            f"its coarser addend's {coarsest:.3g}, on which runtimes abort: the addends' ranges "
            "are far larger than the sum's; calibrate all three on the same batches"
        )


def check_tanh(where: str, source: TensorFormat) -> None:
    """Checks for an int8 TANH whose input scale is too fine for TFLM's shift.

    Args:
      where: name of the tensor in the error message.
      source: format of the input.

    Raises:
      ValueError: it is; names the tensor and what to change.
    """
    if np.dtype(source.dtype) == np.int8 and source.scale < _FINEST_TANH:
        raise ValueError(
            f"{where} has steps of {source.scale:.3g}; TANH takes 2^-27 and more: its range fell "
            "to next to nothing, calibrate it on data that reach its real range"
        )
