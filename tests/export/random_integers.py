"""Random layers in integers: full-range weights, scales of every kind."""

import numpy as np

from rnnt_qat.export.integers import DenseIntegers, LstmIntegers
from rnnt_qat.export.tensor_format import TensorFormat


def random_lstm(
    rng: np.random.Generator,
    inputs: int,
    hidden: int,
    wide: bool,
    power_of_two: bool = False,
    gain: float = 1.0,
    per_unit: bool = False,
    input: TensorFormat | None = None,
    output: TensorFormat | None = None,
) -> LstmIntegers:
    """An LSTM; ``gain`` moves its pre-activations between the quiet and the saturated."""
    bias = np.int64 if wide else np.int32
    if wide:
        input = input or TensorFormat(np.int16, 2.0**-11)
        output = output or TensorFormat(np.int16, 2.0**-15)
    elif power_of_two:
        input = input or TensorFormat(np.int8, 2.0**-5)
        output = output or TensorFormat(np.int8, 2.0**-7)
    else:
        input = input or TensorFormat(np.int8, 0.034, 3)
        output = output or TensorFormat(np.int8, 0.0073, -5)
    gain = gain / 256 if wide else gain

    def scales() -> np.ndarray:
        if power_of_two:
            return np.full(4, 2.0 ** round(np.log2(gain / 512)), np.float32)
        shape = (4, hidden) if per_unit else 4
        return (gain * rng.uniform(0.001, 0.003, shape)).astype(np.float32)

    return LstmIntegers(
        w_ih=rng.integers(-127, 128, (4, hidden, inputs)).astype(np.int8),
        w_hh=rng.integers(-127, 128, (4, hidden, hidden)).astype(np.int8),
        bias=rng.integers(-2000, 2000, (4, hidden)).astype(bias),
        input=input,
        hidden=output,
        cell=TensorFormat(np.int16, 2.0**-11),
        w_ih_scale=scales(),
        w_hh_scale=scales(),
    )


def random_dense(
    rng: np.random.Generator,
    inputs: int,
    outputs: int,
    input: TensorFormat,
    output: TensorFormat,
    gain: float = 1.0,
    per_output: bool = False,
) -> DenseIntegers:
    """A dense layer whose outputs fill about ``gain`` of their format."""
    bias = np.int64 if input.dtype == np.int16 else np.int32
    spread = 73 * np.iinfo(input.dtype).max / np.sqrt(3) * np.sqrt(inputs)
    scale = gain * np.iinfo(output.dtype).max / 3 * output.scale / (spread * input.scale)
    scales = scale * rng.uniform(0.7, 1.4, outputs if per_output else ())
    return DenseIntegers(
        weights=rng.integers(-127, 128, (outputs, inputs)).astype(np.int8),
        bias=rng.integers(-2000, 2000, outputs).astype(bias),
        input=input,
        output=output,
        weight_scale=np.asarray(scales, np.float32),
    )
