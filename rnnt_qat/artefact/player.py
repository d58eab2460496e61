"""The complete recognizer in NumPy, streaming: from features in the chip's integers to tokens.

It uses neither JAX nor a runtime: firmware has to equal an artefact computed by this file and
``layer_player``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Integer

from rnnt_qat.artefact import rescaling as fixed
from rnnt_qat.artefact.artefact import Artefact
from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.layer_integers import RecurrentIntegers
from rnnt_qat.artefact.layer_player import (
    LayerState,
    Recorder,
    ignore,
    initial_state,
    play_dense,
    play_layer,
)
from rnnt_qat.artefact.tensor_format import TensorFormat

BLANK_ID = 0


class StreamingRecognizer(Protocol):
    """One stream: the player here, or the graphs in a runtime (``replay.GraphRecognizer``)."""

    def reset(self) -> None:
        """Sets the state before the first frame and the start symbol."""

    def encode(self, features: Integer[np.ndarray, "T F"]) -> Integer[np.ndarray, "Tr J"]:
        """Encodes the next chunk of features, given in the encoder's input format."""

    def predict(self, label: int) -> Integer[np.ndarray, "J"]:
        """Returns the prediction projection after the next label; the blank is the start symbol."""

    def joint(self, encoded: Integer[np.ndarray, "J"], predicted: Integer[np.ndarray, "J"]) -> int:
        """Returns the most probable label, the lowest index among equals."""

    def states(self) -> Mapping[str, np.ndarray]:
        """Returns the current recurrent states by name, without those that a runtime hides."""


@dataclass(frozen=True)
class Transcript:
    """The result of greedy search, with call counts.

    Attributes:
      tokens: labels in order, without blanks.
      emission_frames: index of the encoder frame at which each was emitted.
      encoder_frames: number of encoder frames searched.
      encoder_calls: number of chunks encoded.
      prediction_calls: number of steps of the prediction network, with the start symbol's.
      joint_calls: number of evaluations of the joint.
    """

    tokens: tuple[int, ...]
    emission_frames: tuple[int, ...]
    encoder_frames: int
    encoder_calls: int
    prediction_calls: int
    joint_calls: int


def quantize_features(
    features: Float[np.ndarray, "T F"], tensor_format: TensorFormat
) -> Integer[np.ndarray, "T F"]:
    """Quantizes normalized features to the encoder's input format.

    The arithmetic is that of training: division by the scale in float32, ties away from zero,
    saturation; NaN becomes 0.

    Args:
      features: normalized features.
      tensor_format: the encoder's input format.
    """
    scaled = np.asarray(features, np.float32) / np.float32(tensor_format.scale)
    limits = np.iinfo(tensor_format.dtype)
    # Clipped before the cast, which is undefined for floats beyond the integers.
    bounded = np.clip(np.nan_to_num(scaled, nan=0.0), limits.min, limits.max).astype(np.float64)
    return fixed.saturate(fixed.round_half_away(bounded) + tensor_format.zero_point, tensor_format)


def greedy(
    recognizer: StreamingRecognizer,
    features: Integer[np.ndarray, "T F"],
    chunk_frames: int,
    max_symbols_per_frame: int = 10,
) -> Transcript:
    """Runs frame-synchronous greedy search (Graves, 2012) over one utterance, in chunks.

    Args:
      recognizer: the recognizer; it is reset first.
      features: in the encoder's input format; the last chunk may be shorter.
      chunk_frames: feature frames per chunk, a multiple of the time reduction.
      max_symbols_per_frame: maximum number of labels per encoder frame; after them the search moves
        to the next frame without another evaluation of the joint.
    """
    recognizer.reset()
    tokens: list[int] = []
    emission_frames: list[int] = []
    frame = encoder_calls = joint_calls = 0
    predicted = recognizer.predict(BLANK_ID)
    for start in range(0, len(features), chunk_frames):
        encoder_calls += 1
        for encoded in recognizer.encode(features[start : start + chunk_frames]):
            for _ in range(max_symbols_per_frame):
                joint_calls += 1
                label = recognizer.joint(encoded, predicted)
                if label == BLANK_ID:
                    break
                tokens.append(label)
                emission_frames.append(frame)
                predicted = recognizer.predict(label)
            frame += 1
    return Transcript(
        tuple(tokens), tuple(emission_frames), frame, encoder_calls, 1 + len(tokens), joint_calls
    )


def recognize(
    artefact: Artefact, features: Float[np.ndarray, "T F"], chunk_frames: int
) -> tuple[str, Transcript]:
    """Recognizes one utterance from an artefact alone.

    Args:
      artefact: as returned by ``artefact.load``.
      features: normalized and stacked, as ``artefact.features`` describes.
      chunk_frames: feature frames per chunk, a multiple of the time reduction.

    Returns:
      The text and the result of the search.
    """
    integers = quantize_features(features, artefact.model.encoder.layers[0].input)
    player = Player(artefact.model)
    found = greedy(player, integers, chunk_frames, artefact.max_symbols_per_frame)
    return artefact.text(found.tokens), found


class Player:
    """A ``StreamingRecognizer`` in NumPy.

    Args:
      model: the integers.
      record: receives every intermediate result, named ``{encoder,prediction,joint}/...``.
    """

    def __init__(self, model: RnntIntegers, record: Recorder = ignore) -> None:
        self.model = model
        self._record = record
        self.reset()

    def reset(self) -> None:
        """Sets the state before the first frame and the start symbol."""
        self._encoder = [initial_state(layer) for layer in self.model.encoder.layers]
        self.reset_prediction()

    def reset_prediction(self) -> None:
        """Resets the prediction network to the start symbol and keeps the encoder's state."""
        prediction = self.model.prediction
        self._prediction = [initial_state(layer) for layer in prediction.layers]
        self._labels = [BLANK_ID] * prediction.context

    def encode(self, features: Integer[np.ndarray, "T F"]) -> Integer[np.ndarray, "Tr J"]:
        """Encodes the next chunk; only the last of an utterance may lack frames of a group.

        Raises:
          ValueError: the features do not have the encoder's input format or width.
        """
        encoder = self.model.encoder
        x, tensor_format = features, encoder.layers[0].input
        if features.dtype != tensor_format.dtype or features.shape[1:] != (encoder.feature_size,):
            raise ValueError(
                f"features are {features.dtype} {features.shape}; the encoder takes "
                f"{tensor_format.dtype} [T, {encoder.feature_size}] (quantize them with the "
                f"artefact's input format)"
            )
        for index, layer in enumerate(encoder.layers):
            if index == encoder.layers_before_reduction:
                x = _reduce(x, encoder.time_reduction, tensor_format)
                self._record("encoder/reduced", x)
            x = self._layer("encoder", index, layer, self._encoder, x, tensor_format)
            tensor_format = layer.output
        x = self._in_format(x, tensor_format, encoder.projection.input)
        encoded = play_dense(encoder.projection, x, self.model.arithmetic)
        self._record("encoder/encoded", encoded)
        return encoded

    def predict(self, label: int) -> Integer[np.ndarray, "J"]:
        """Returns the prediction projection after the next label."""
        prediction = self.model.prediction
        self._labels = [*self._labels[1:], label]
        tensor_format = prediction.embedding_format
        x = prediction.embedding[self._labels]
        self._record("prediction/embedded", x)
        x = x.reshape(1, -1)
        for index, layer in enumerate(prediction.layers):
            x = self._layer("prediction", index, layer, self._prediction, x, tensor_format)
            tensor_format = layer.output
        x = self._in_format(x, tensor_format, prediction.projection.input)
        predicted = play_dense(prediction.projection, x, self.model.arithmetic)
        self._record("prediction/predicted", predicted)
        return predicted[0]

    def logits(
        self, encoded: Integer[np.ndarray, "J"], predicted: Integer[np.ndarray, "J"]
    ) -> Integer[np.ndarray, "V"]:
        """Returns the scores over the vocabulary."""
        model, joint = self.model, self.model.joint
        formats = (model.encoder.projection.output, model.prediction.projection.output, joint.sum)
        hidden_pre = model.arithmetic.add(encoded, predicted, formats)
        hidden = model.arithmetic.tanh(hidden_pre, joint.sum, joint.hidden)
        x = self._in_format(hidden[None], joint.hidden, joint.output.input)
        logits = play_dense(joint.output, x, model.arithmetic)
        self._record("joint/hidden_pre", hidden_pre[None])
        self._record("joint/hidden", hidden[None])
        self._record("joint/logits", logits)
        return logits[0]

    def joint(self, encoded: Integer[np.ndarray, "J"], predicted: Integer[np.ndarray, "J"]) -> int:
        """Returns the most probable label, the lowest index among equals."""
        return int(np.argmax(self.logits(encoded, predicted)))

    def states(self) -> Mapping[str, np.ndarray]:
        """Returns every state of every recurrent layer."""
        model = self.model
        networks = (
            ("encoder", model.encoder, self._encoder),
            ("prediction", model.prediction, self._prediction),
        )
        return {
            f"{name}/{layer.cell_kind}_{n}/{site}": values
            for name, network, states in networks
            for n, (layer, state) in enumerate(zip(network.layers, states, strict=True))
            for site, values in state.items()
        }

    def set_states(self, states: Mapping[str, np.ndarray]) -> None:
        """Sets every state of every recurrent layer, named as ``states`` names them."""
        for name, network, held in (
            ("encoder", self.model.encoder, self._encoder),
            ("prediction", self.model.prediction, self._prediction),
        ):
            held[:] = [
                {
                    site: states[f"{name}/{layer.cell_kind}_{n}/{site}"]
                    for site in layer.state_formats
                }
                for n, layer in enumerate(network.layers)
            ]

    def _layer(
        self,
        network: str,
        index: int,
        layer: RecurrentIntegers,
        states: list[LayerState],
        x: np.ndarray,
        tensor_format: TensorFormat,
    ) -> np.ndarray:
        name = f"{network}/{layer.cell_kind}_{index}"
        x = self._in_format(x, tensor_format, layer.input)
        ys, states[index] = play_layer(
            layer,
            x,
            states[index],
            self.model.arithmetic,
            lambda site, values: self._record(f"{name}/{site}", values),
        )
        self._record(f"{name}/hiddens", ys)
        if not layer.carries_state:  # the fused operator exposes its cell only after the last frame
            self._record(f"{name}/cell", states[index]["cell"][None])
        return ys

    def _in_format(self, x: np.ndarray, source: TensorFormat, target: TensorFormat) -> np.ndarray:
        return x if source == target else self.model.arithmetic.requantize(x, source, target)


def _reduce(x: np.ndarray, factor: int, tensor_format: TensorFormat) -> np.ndarray:
    """Stacks groups of ``factor`` rows; zeros replace the missing rows of the last group."""
    missing = np.full((-len(x) % factor, x.shape[1]), tensor_format.zero_point, x.dtype)
    return np.concatenate([x, missing]).reshape(-1, factor * x.shape[1])
