"""Checks of the arrays of a frozen recognizer; each error names the array."""

import numpy as np

from rnnt_qat.artefact.tensor_format import TensorFormat


def is_power_of_two(scale: float) -> bool:
    """Returns whether a scale is exactly a power of two."""
    return float(np.frexp(scale)[0]) == 0.5


def check_weights(where: str, weights: np.ndarray) -> None:
    """Checks that weights are int8 without -128, as int8 kernels require.

    Args:
      where: name of the weights in the error message.
      weights: the weights.

    Raises:
      ValueError: they are not.
    """
    if weights.dtype != np.int8 or weights.min(initial=0) < -127:
        raise ValueError(
            f"{where} must be int8 in [-127, 127], found {weights.dtype} "
            f"in [{weights.min()}, {weights.max()}]"
        )


def check_bias(where: str, bias: np.ndarray, input_format: TensorFormat) -> None:
    """Checks that biases are int32 for int8 inputs and int64 for int16 inputs.

    Args:
      where: name of the bias in the error message.
      bias: the bias.
      input_format: format of the inputs.

    Raises:
      ValueError: they are not.
    """
    expected = np.int64 if input_format.dtype == np.int16 else np.int32
    if bias.dtype != expected:
        raise ValueError(
            f"{where} is {bias.dtype}; {input_format.dtype} inputs take {expected.__name__}"
        )


def check_shape(ok: bool, where: str, array: np.ndarray, expected: str) -> None:
    """Checks the shape of an array.

    Args:
      ok: whether the shape is as expected.
      where: name of the array in the error message.
      array: the array.
      expected: the expected shape, in words.

    Raises:
      ValueError: it is not.
    """
    if not ok:
        raise ValueError(f"{where} is {array.shape}, expected {expected}")


def check_width(where: str, expected: int, found: int) -> None:
    """Checks that a width is the expected one.

    Args:
      where: name of the layer in the error message.
      expected: the expected width.
      found: the width.

    Raises:
      ValueError: they differ.
    """
    if expected != found:
        raise ValueError(f"{where}: expects {expected}, gets {found}")
