"""Integers of the layers of a frozen RNN transducer: recurrent and dense.

Formats select operators: an LSTM with int8 inputs is the fused one ("8x8_16"), one with int16
inputs is written operator by operator ("16x8"). Gates are in the order i, f, g, o (input, forget,
cell candidate, output), as in LiteRT.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Integer

from rnnt_qat.artefact import limits
from rnnt_qat.artefact.checks import check_bias, check_shape, check_weights, is_power_of_two
from rnnt_qat.artefact.tensor_format import TensorFormat

GATE_NAMES = ("i", "f", "g", "o")
GATE_PRE = TensorFormat(np.int16, 2.0**-12)
"""Gate pre-activations: Q3.12, the input format of the 16-bit sigmoid and tanh."""
GATE = TensorFormat(np.int16, 2.0**-15)
"""Gates: Q0.15, the output format of the 16-bit sigmoid and tanh."""


class RecurrentIntegers(Protocol):
    """A recurrent layer of any kind."""

    @property
    def cell_kind(self) -> str:
        """Prefix of the names of its tensors: ``{cell_kind}_{n}/...``."""

    @property
    def input(self) -> TensorFormat:
        """Format of the inputs."""

    @property
    def input_size(self) -> int:
        """Width of the inputs."""

    @property
    def output(self) -> TensorFormat:
        """Format of the outputs."""

    @property
    def output_size(self) -> int:
        """Width of the outputs."""

    @property
    def carries_state(self) -> bool:
        """Whether its states are inputs and outputs of a graph; else the runtime keeps them."""

    @property
    def state_formats(self) -> Mapping[str, tuple[int, TensorFormat]]:
        """Width and format of each recurrent state, by name."""

    def check_limits(self, where: str, wide_bits: int) -> None:
        """Checks that no input overflows the runtimes' words.

        Args:
          where: name of the layer in the error message.
          wide_bits: width of the accumulator of int16 inputs.

        Raises:
          ValueError: some input does.
        """


@dataclass(frozen=True, eq=False)
class LstmIntegers:
    """One LSTM layer.

    Attributes:
      w_ih: int8 input weights in [-127, 127]: gate, unit, input.
      w_hh: int8 recurrent weights in [-127, 127]: gate, unit, unit.
      bias: at the scale ``input.scale * w_ih_scale`` of its gate; int32 (8x8_16) or int64 (16x8).
      input: format of the inputs, int8 or int16.
      hidden: format of the hidden state, of the input's dtype.
      cell: format of the cell: int16, with a power-of-two scale from 2^-15 to 2^-9.
      w_ih_scale: scale of the input weights, one per gate or (16x8 only) one per unit and gate.
      w_hh_scale: scale of the recurrent weights, likewise.
    """

    w_ih: Integer[np.ndarray, "4 H D"]
    w_hh: Integer[np.ndarray, "4 H H"]
    bias: Integer[np.ndarray, "4 H"]
    input: TensorFormat
    hidden: TensorFormat
    cell: TensorFormat
    w_ih_scale: Float[np.ndarray, "4"] | Float[np.ndarray, "4 H"]
    w_hh_scale: Float[np.ndarray, "4"] | Float[np.ndarray, "4 H"]

    def __post_init__(self) -> None:
        """Rejects shapes and formats that the kernels do not support."""
        where = type(self).__name__
        check_shape(
            self.w_ih.ndim == 3 and len(self.w_ih) == 4, f"{where}.w_ih", self.w_ih, "[4, H, D]"
        )
        hidden = self.hidden_size
        scales: list[tuple[int, ...]] = [(4,), (4, hidden)] if self.is_wide else [(4,)]
        expected: dict[str, list[tuple[int, ...]]] = {
            "w_hh": [(4, hidden, hidden)],
            "bias": [(4, hidden)],
            "w_ih_scale": scales,
            "w_hh_scale": scales,
        }
        for field, shapes in expected.items():
            array = getattr(self, field)
            wanted = " or ".join(map(str, shapes))
            check_shape(array.shape in shapes, f"{where}.{field}", array, wanted)
        check_weights(f"{where}.w_ih", self.w_ih)
        check_weights(f"{where}.w_hh", self.w_hh)
        check_bias(f"{where}.bias", self.bias, self.input)
        if self.hidden.dtype != self.input.dtype:
            raise ValueError(f"{where}.hidden is {self.hidden.dtype}, its input {self.input.dtype}")
        formats = ("input", "hidden", "cell") if self.is_wide else ("cell",)
        for field in formats:
            tensor_format = getattr(self, field)
            if (
                tensor_format.dtype != np.int16
                or tensor_format.zero_point
                or not is_power_of_two(tensor_format.scale)
            ):
                raise ValueError(
                    f"{where}.{field} is {tensor_format}; int16 formats here are symmetric with a "
                    "power-of-two scale"
                )
        if not self.is_wide and not 2.0**-15 <= self.cell.scale <= 2.0**-9:
            raise ValueError(
                f"{where}.cell.scale is {self.cell.scale}; the kernel takes 2^-15 to 2^-9"
            )
        if self.is_wide and self.cell.scale not in (2.0**-12, 2.0**-11):
            raise ValueError(
                f"{where}.cell.scale is {self.cell.scale}; int16 tanh takes 2^-11, 2^-12"
            )

    @property
    def input_size(self) -> int:
        """Width of the inputs."""
        return self.w_ih.shape[2]

    @property
    def hidden_size(self) -> int:
        """Width of the hidden state."""
        return self.w_ih.shape[1]

    @property
    def is_wide(self) -> bool:
        """Whether activations are int16 (16x8)."""
        return self.input.dtype == np.int16

    @property
    def cell_kind(self) -> str:
        """``lstm``."""
        return "lstm"

    @property
    def output(self) -> TensorFormat:
        """Format of the hidden state."""
        return self.hidden

    @property
    def output_size(self) -> int:
        """Width of the hidden state."""
        return self.hidden_size

    @property
    def carries_state(self) -> bool:
        """False for the fused operator, which keeps its own states."""
        return self.is_wide

    @property
    def state_formats(self) -> Mapping[str, tuple[int, TensorFormat]]:
        """Width and format of the hidden and the cell state."""
        size = self.hidden_size
        return {"hidden": (size, self.hidden), "cell": (size, self.cell)}

    def input_projection(self) -> "DenseIntegers":
        """Returns ``W_x x + b`` of all gates as one dense layer (16x8): ``[D] -> [4H]``, Q3.12."""
        weights = self.w_ih.reshape(-1, self.input_size)
        scale = _per_output(self.w_ih_scale, self.hidden_size)
        return DenseIntegers(weights, self.bias.reshape(-1), self.input, GATE_PRE, scale)

    def recurrent_projection(self) -> "DenseIntegers":
        """Returns ``W_h h`` of all gates as one dense layer (16x8): ``[H] -> [4H]``, Q3.12."""
        weights = self.w_hh.reshape(-1, self.hidden_size)
        scale = _per_output(self.w_hh_scale, self.hidden_size)
        return DenseIntegers(weights, None, self.hidden, GATE_PRE, scale)

    def check_limits(self, where: str, wide_bits: int) -> None:
        """Raises ValueError if some input overflows the runtimes' words.

        Args:
          where: name of the layer in the error message.
          wide_bits: width of the accumulator of int16 inputs.
        """
        if self.is_wide:
            self.input_projection().check_limits(f"{where}/input_kernel", wide_bits)
            self.recurrent_projection().check_limits(f"{where}/recurrent_kernel", wide_bits)
            return
        for gate, name in enumerate(GATE_NAMES):
            for site, weights, scale, bias, source in (
                ("input_kernel", self.w_ih, self.w_ih_scale, self.bias[gate], self.input),
                ("recurrent_kernel", self.w_hh, self.w_hh_scale, None, self.hidden),
            ):
                formats = source, TensorFormat(np.int8, scale[gate]), GATE_PRE
                limits.check_product(
                    f"{where}/{site} (gate {name})", weights[gate], bias, formats, wide_bits
                )


@dataclass(frozen=True, eq=False)
class DenseIntegers:
    """One dense layer.

    Attributes:
      weights: int8 in [-127, 127]: output, input.
      bias: at the scale ``input.scale * weight_scale``; int32 for int8 inputs, int64 for int16;
        None for no bias.
      input: format of the inputs.
      output: format of the outputs.
      weight_scale: scale of the weights, one for the whole matrix or one per output.
    """

    weights: Integer[np.ndarray, "M K"]
    bias: Integer[np.ndarray, "M"] | None
    input: TensorFormat
    output: TensorFormat
    weight_scale: Float[np.ndarray, "*M"]

    def __post_init__(self) -> None:
        """Rejects shapes and dtypes that do not fit."""
        check_weights("DenseIntegers.weights", self.weights)
        size = (len(self.weights),)
        scale = np.asarray(self.weight_scale)
        check_shape(scale.shape in ((), size), "DenseIntegers.weight_scale", scale, f"() or {size}")
        if self.bias is not None:
            check_shape(self.bias.shape == size, "DenseIntegers.bias", self.bias, str(size))
            check_bias("DenseIntegers.bias", self.bias, self.input)

    @property
    def formats(self) -> tuple[TensorFormat, TensorFormat, TensorFormat]:
        """Formats of input, weights and output."""
        return self.input, TensorFormat(np.int8, self.weight_scale), self.output

    def check_limits(self, where: str, wide_bits: int) -> None:
        """Raises ValueError if some input overflows the runtimes' words.

        Args:
          where: name of the layer in the error message.
          wide_bits: width of the accumulator of int16 inputs.
        """
        limits.check_product(where, self.weights, self.bias, self.formats, wide_bits)


def _per_output(scale: np.ndarray, hidden: int) -> np.ndarray:
    """Returns one scale for the whole matrix if all are equal, else one per output row."""
    if np.all(scale == scale.flat[0]):
        return np.asarray(scale.flat[0])
    return scale.reshape(-1) if scale.ndim == 2 else np.repeat(scale, hidden)
