"""What the integer kernels' words hold; past them runtimes wrap or abort, so formats are refused.

The kernels of LiteRT and TFLM (and the chips that follow them) saturate a result to its format,
but only after it passed through a 32-bit word: a sum that leaves its accumulator, or a rescaled
result of 2^31 and more, wraps without a word. Every check here takes the worst case over inputs,
from the weights as they are, so that no accepted recognizer can reach such a value.
"""

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact.tensor_format import TensorFormat

_RESULT_BITS = 30
"""Results stay below 2^30: TFLM shifts an accumulator left, by up to twice the ratio, first."""
_FINEST_TANH = 2.0**-27
"""Of int8 TANH in TFLM, which multiplies by the scale times 2^27 with a left shift from 0 on."""
_ADD_SHIFT = {np.dtype(np.int8): 20, np.dtype(np.int16): 15}
"""Left shift of ADD's operands (LiteRT, reference/add.h)."""


def check_product(
    where: str,
    weights: Integer[np.ndarray, "M K"],
    bias: Integer[np.ndarray, "M"] | None,
    formats: tuple[TensorFormat, TensorFormat, TensorFormat],
) -> None:
    """Refuses a FULLY_CONNECTED, or a product of the fused LSTM, that some input overflows.

    Args:
      where: the layer, for the message.
      weights: int8.
      bias: at the product's scale.
      formats: of input, weights and output.

    Raises:
      ValueError: names the layer, the output and what to change.
    """
    input, weight, output = formats
    limits = np.iinfo(input.dtype)
    reach = max(limits.max - input.zero_point, input.zero_point - limits.min)
    largest = np.abs(weights.astype(np.int64)).sum(axis=1) * reach
    if bias is not None:
        largest = largest + np.abs(bias.astype(np.int64))
    bits = 40 if np.dtype(input.dtype) == np.int16 else 32
    worst = int(np.argmax(largest))
    if largest[worst] >= 2 ** (bits - 1):
        raise ValueError(
            f"{where}: output {worst} sums up to {largest[worst]:.3g} in an accumulator of {bits} "
            "bits, where runtimes wrap: its bias is too large for the scale of its weights, or it "
            "has too many inputs; freeze it again (the weights' scale is raised for a large bias) "
            "or make the layer narrower"
        )
    if bits == 40:
        # TFLM's 16-bit multiplier has no left shift: a product of one step has 2^14 at most.
        largest = np.maximum(largest, 2 ** (_RESULT_BITS - 14))
    ratio = np.float64(input.scale) * np.asarray(weight.scale, np.float64) / output.scale
    check_result(where, float((largest * ratio).max(initial=0.0)))


def check_result(where: str, largest: float) -> None:
    """Refuses results that are too large for the word that they are saturated from.

    Raises:
      ValueError: names the result and what to change.
    """
    if not largest < 2.0**_RESULT_BITS:
        raise ValueError(
            f"{where}: results reach {largest:.3g} steps of their format before they saturate, and "
            f"runtimes wrap from 2^{_RESULT_BITS} on: the format's range is far too small for what "
            "is stored in it; calibrate it on data that reach its real range"
        )


def check_requantize(where: str, source: TensorFormat, output: TensorFormat) -> None:
    """Refuses a QUANTIZE whose results some input overflows; ``where`` names the tensor."""
    limits = np.iinfo(source.dtype)
    reach = max(limits.max - source.zero_point, source.zero_point - limits.min)
    check_result(where, reach * source.scale / output.scale)


def check_add(where: str, formats: tuple[TensorFormat, TensorFormat, TensorFormat]) -> None:
    """Refuses an ADD that aborts in every runtime: its result far finer than its addends.

    Args:
      where: the sum, for the message.
      formats: of the addends and the sum.

    Raises:
      ValueError: names the sum and what to change.
    """
    first, second, output = formats
    shift = _ADD_SHIFT[np.dtype(first.dtype)]
    coarsest = max(first.scale, second.scale)
    if 2 * coarsest >= 2.0**shift * output.scale:
        raise ValueError(
            f"{where} has steps of {output.scale:.3g}, more than 2^{shift - 2} times finer than "
            f"its coarser addend's {coarsest:.3g}, on which runtimes abort: the addends' ranges "
            "are far larger than the sum's; calibrate all three on the same batches"
        )


def check_tanh(where: str, source: TensorFormat) -> None:
    """Refuses an int8 TANH of steps so fine that TFLM's shift is undefined.

    Raises:
      ValueError: names the tensor that is read and what to change.
    """
    if np.dtype(source.dtype) == np.int8 and source.scale < _FINEST_TANH:
        raise ValueError(
            f"{where} has steps of {source.scale:.3g}; TANH takes 2^-27 and more: its range fell "
            "to next to nothing, calibrate it on data that reach its real range"
        )
