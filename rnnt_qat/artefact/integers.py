"""A frozen RNN transducer as plain integer arrays and their formats.

Artefacts contain these classes, graphs are written from them, and the player runs them; they need
only NumPy. ``layer_integers`` has their layers.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact import limits
from rnnt_qat.artefact.arithmetic import Arithmetic
from rnnt_qat.artefact.checks import check_width
from rnnt_qat.artefact.layer_integers import DenseIntegers, RecurrentIntegers
from rnnt_qat.artefact.runtime_arithmetic import LITERT, RuntimeArithmetic
from rnnt_qat.artefact.tensor_format import TensorFormat


@dataclass(frozen=True, eq=False)
class EncoderIntegers:
    """Stacked recurrent layers with one time reduction, and the projection for the joint.

    Attributes:
      layers: the recurrent layers, in order.
      layers_before_reduction: number of layers at the features' rate; 0 reduces the features.
      time_reduction: number of frames stacked into one; 1 keeps the rate.
      projection: maps the hidden state to joint width.
    """

    layers: tuple[RecurrentIntegers, ...]
    layers_before_reduction: int
    time_reduction: int
    projection: DenseIntegers

    def __post_init__(self) -> None:
        """Rejects layers whose widths or order do not fit."""
        if not 0 <= self.layers_before_reduction < len(self.layers):
            raise ValueError(
                f"EncoderIntegers.layers_before_reduction is {self.layers_before_reduction}; "
                f"it lies in [0, {len(self.layers)})"
            )
        if self.time_reduction < 1:
            raise ValueError(f"EncoderIntegers.time_reduction is {self.time_reduction}, not >= 1")
        width = self.feature_size
        for index, layer in enumerate(self.layers):
            if index == self.layers_before_reduction:
                width *= self.time_reduction
            check_width(f"encoder layer {index}", layer.input_size, width)
            width = layer.output_size
        check_width("encoder projection", self.projection.weights.shape[1], width)

    @property
    def feature_size(self) -> int:
        """Width of one feature frame."""
        first = self.layers[0].input_size
        return first // (1 if self.layers_before_reduction else self.time_reduction)


@dataclass(frozen=True, eq=False)
class PredictionIntegers:
    """Embedding of the last labels, recurrent layers (none if stateless), and projection.

    Attributes:
      embedding: one row per label, in the format ``embedding_format``.
      embedding_format: format of the rows.
      context: number of labels read at once, side by side; 1 with recurrent layers.
      layers: the recurrent layers, in order.
      projection: maps to joint width.
    """

    embedding: Integer[np.ndarray, "V E"]
    embedding_format: TensorFormat
    context: int
    layers: tuple[RecurrentIntegers, ...]
    projection: DenseIntegers

    def __post_init__(self) -> None:
        """Rejects layers whose widths do not fit."""
        if self.embedding.dtype != self.embedding_format.dtype:
            raise ValueError(
                f"PredictionIntegers.embedding is {self.embedding.dtype}, its format "
                f"{self.embedding_format.dtype}"
            )
        width = self.context * self.embedding.shape[1]
        for index, layer in enumerate(self.layers):
            check_width(f"prediction layer {index}", layer.input_size, width)
            width = layer.output_size
        check_width("prediction projection", self.projection.weights.shape[1], width)


@dataclass(frozen=True, eq=False)
class JointIntegers:
    """Computes ``argmax(W tanh(e + p) + b)``.

    Attributes:
      sum: format of ``e + p``.
      hidden: format of its tanh: 2^-15 for int16, 2^-7 for int8.
      output: maps the hidden layer to logits.
    """

    sum: TensorFormat
    hidden: TensorFormat
    output: DenseIntegers

    @property
    def width(self) -> int:
        """Width J."""
        return self.output.weights.shape[1]


@dataclass(frozen=True, eq=False)
class RnntIntegers:
    """A complete recognizer.

    Attributes:
      chip: name of the accelerator specification for which it was trained.
      encoder: maps features to joint width.
      prediction: maps labels to joint width.
      joint: maps both to the next label; label 0 is the blank and the start symbol.
      arithmetic: the public arithmetic that was used in training.
    """

    chip: str
    encoder: EncoderIntegers
    prediction: PredictionIntegers
    joint: JointIntegers
    arithmetic: Arithmetic = LITERT

    def __post_init__(self) -> None:
        """Rejects networks whose widths do not fit."""
        width = self.joint.width
        check_width("joint (from the encoder)", width, len(self.encoder.projection.weights))
        check_width("joint (from the prediction)", width, len(self.prediction.projection.weights))
        labels = len(self.joint.output.weights)
        check_width("prediction embedding's labels", len(self.prediction.embedding), labels)
        if not isinstance(self.arithmetic, RuntimeArithmetic):
            self._check_unfused()
        self._check_limits()

    @property
    def vocabulary(self) -> int:
        """Number of labels, with the blank."""
        return len(self.joint.output.weights)

    def _check_unfused(self) -> None:
        """Raises ValueError if a layer is LiteRT's fused operator; names it."""
        for name, layers in (
            ("encoder", self.encoder.layers),
            ("prediction", self.prediction.layers),
        ):
            for index, layer in enumerate(layers):
                if not layer.carries_state:
                    raise ValueError(
                        f"{name}/{layer.cell_kind}_{index} is LiteRT's fused int8 LSTM, which "
                        f"{type(self.arithmetic).__name__} lacks: it computes operator by operator"
                    )

    def _check_limits(self) -> None:
        """Raises ValueError if some input overflows the runtimes' words; names the layer."""
        wide_bits = self.arithmetic.wide_accumulator_bits
        for name, network, tensor_format in (
            ("encoder", self.encoder, self.encoder.layers[0].input),
            ("prediction", self.prediction, self.prediction.embedding_format),
        ):
            for index, layer in enumerate(network.layers):
                where = f"{name}/{layer.cell_kind}_{index}"
                limits.check_requantize(f"{where}/input", tensor_format, layer.input)
                layer.check_limits(where, wide_bits)
                tensor_format = layer.output
            limits.check_requantize(
                f"{name}/projection/input", tensor_format, network.projection.input
            )
            network.projection.check_limits(f"{name}/projection", wide_bits)
        addends = self.encoder.projection.output, self.prediction.projection.output
        where = "the joint's sum (joint/hidden_pre)"
        limits.check_add(where, (*addends, self.joint.sum))
        limits.check_tanh(where, self.joint.sum)
        limits.check_requantize("joint/output/input", self.joint.hidden, self.joint.output.input)
        self.joint.output.check_limits("joint/output", wide_bits)
