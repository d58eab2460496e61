"""The exported graphs as a streaming recognizer, and the first difference from the player.

``GraphRecognizer`` runs the three graphs in a runtime and carries their states, so that the
player's ``greedy`` can drive it. ``first_difference`` runs the player and another recognizer on the
same stream and names the first frame and operator with different integers.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from jaxtyping import Integer, Num

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.layer_integers import RecurrentIntegers
from rnnt_qat.artefact.layer_player import initial_state
from rnnt_qat.artefact.player import BLANK_ID, Player, StreamingRecognizer
from rnnt_qat.export.rnnt_graphs import (
    EVERYWHERE,
    Boundary,
    encoder_chunk,
    joint_step,
    prediction_step,
)
from rnnt_qat.verify.runtimes import LiteRt, Runtime
from rnnt_qat.verify.trace import Difference, first_difference_of


class GraphRecognizer:
    """A ``StreamingRecognizer`` over the exported graphs.

    Graphs are created on demand, one encoder graph per chunk length. In LiteRT a stream may change
    its chunk length (the last chunk of an utterance is shorter). A runtime that hides the states of
    the fused LSTM, as TFLM does, does not allow it, and the change is an error.

    Args:
      model: the integers.
      load: creates a runtime from a `.tflite` file's bytes, e.g. ``LiteRt`` or ``Tflm``.
      boundary: operators that the graphs include; this class computes the others.
    """

    def __init__(
        self,
        model: RnntIntegers,
        load: Callable[[bytes], Runtime] = LiteRt,
        boundary: Boundary = EVERYWHERE,
    ) -> None:
        self.model = model
        self._load = load
        self._boundary = boundary
        self._encoders: dict[int, _Network] = {}
        self._prediction = _Network(load(prediction_step(model, boundary)), model.prediction.layers)
        self._joint = load(joint_step(model, boundary))
        self.reset()

    def reset(self) -> None:
        """Sets the state before the first frame and the start symbol."""
        self._chunk: int | None = None
        self._prediction.reset()
        self._labels = [BLANK_ID] * self.model.prediction.context

    def encode(self, features: Integer[np.ndarray, "T F"]) -> Integer[np.ndarray, "Tr J"]:
        """Encodes the next chunk of features."""
        frames = len(features)
        if frames not in self._encoders:
            graph = self._load(encoder_chunk(self.model, frames))
            self._encoders[frames] = _Network(graph, self.model.encoder.layers)
        encoder = self._encoders[frames]
        if self._chunk is None:
            encoder.reset()
        elif self._chunk != frames:
            encoder.take_over(self._encoders[self._chunk])
        self._chunk = frames
        return encoder.run(features)

    def predict(self, label: int) -> Integer[np.ndarray, "J"]:
        """Returns the prediction projection after the next label."""
        self._labels = [*self._labels[1:], label]
        labels = np.array(self._labels, np.int32)
        inside = self._boundary.lookup_inside
        return self._prediction.run(labels if inside else self.model.prediction.embedding[labels])[
            0
        ]

    def joint(self, encoded: Integer[np.ndarray, "J"], predicted: Integer[np.ndarray, "J"]) -> int:
        """Returns the most probable label."""
        (result,) = self._joint.run(encoded[None], predicted[None])
        return int(result[0] if self._boundary.argmax_inside else np.argmax(result))

    def states(self) -> Mapping[str, np.ndarray]:
        """Returns the recurrent states by name, without those that the runtime hides."""
        networks = {"prediction": self._prediction}
        if self._chunk is not None:
            networks["encoder"] = self._encoders[self._chunk]
        return {
            f"{name}/{site}": values
            for name, network in networks.items()
            for site, values in network.states().items()
        }

    def tensor(self, name: str) -> np.ndarray | None:
        """Returns an intermediate result of the last calls; None if the runtime keeps none."""
        network, name = name.split("/", 1)
        runtime = {"prediction": self._prediction.runtime, "joint": self._joint}.get(network)
        if network == "encoder" and self._chunk is not None:
            runtime = self._encoders[self._chunk].runtime
        if isinstance(runtime, LiteRt) and name in runtime.tensor_names():
            return runtime.tensor(name)
        return None


class Inspectable(StreamingRecognizer, Protocol):
    """A streaming recognizer that exposes the results of its operators."""

    def tensor(self, name: str) -> np.ndarray | None:
        """Returns an operator's result in the last calls; None if it is not available."""


def first_difference(
    model: RnntIntegers,
    features: Integer[np.ndarray, "T F"],
    chunk_frames: int,
    other: Inspectable | None = None,
    heard: Num[np.ndarray, "T F"] | None = None,
) -> Difference | None:
    """Compares the player and another recognizer on one utterance, tensor by tensor.

    The decisions of the player drive both, so that a difference is found where it arises and not
    where it later has an effect.

    Args:
      model: the integers.
      features: in the encoder's input format.
      chunk_frames: feature frames per chunk.
      other: the other recognizer; by default the exported graphs in LiteRT.
      heard: the features in the form that ``other`` takes; by default ``features``.

    Returns:
      The first difference, or None if all integers agree.
    """
    ours: dict[str, np.ndarray] = {}
    player = Player(model, record=ours.__setitem__)
    graphs = other or GraphRecognizer(model, lambda content: LiteRt(content, keep_tensors=True))
    heard = features if heard is None else heard

    def compare(step: str) -> Difference | None:
        for name, values in ours.items():
            found = graphs.tensor(name)
            # The model computes the frames that complete the last group; the player does not.
            if found is None or found.size != values.size:
                continue
            if difference := first_difference_of(step, name, values, found):
                return difference
        ours.clear()
        return None

    predicted = player.predict(BLANK_ID)
    graphs.predict(BLANK_ID)
    difference = compare("start symbol")
    for start in range(0, len(features), chunk_frames):
        chunk = features[start : start + chunk_frames]
        encoded = player.encode(chunk)
        graphs.encode(heard[start : start + chunk_frames])
        difference = difference or compare(f"encoder chunk at feature frame {start}")
        for frame in encoded:
            label = player.joint(frame, predicted)
            graphs.joint(frame, predicted)
            difference = difference or compare(f"joint in the chunk at feature frame {start}")
            if difference:
                return difference
            if label != BLANK_ID:
                predicted = player.predict(label)
                graphs.predict(label)
                difference = compare(f"prediction after label {label} of the chunk at {start}")
    return difference


class _Network:
    """A graph with recurrent layers; the runtime keeps their states, or they are carried here."""

    def __init__(self, runtime: Runtime, layers: tuple[RecurrentIntegers, ...]) -> None:
        self.runtime = runtime
        self._layers = layers
        self.reset()

    def reset(self) -> None:
        self.runtime.reset()
        self._carried = {
            f"{layer.cell_kind}_{n}/{site}": values[None]
            for n, layer in enumerate(self._layers)
            if layer.carries_state
            for site, values in initial_state(layer).items()
        }

    def run(self, x: np.ndarray) -> np.ndarray:
        result, *states = self.runtime.run(x, *self._carried.values())
        self._carried = dict(zip(self._carried, states, strict=True))
        return result

    def states(self) -> dict[str, np.ndarray]:
        kept: dict[str, np.ndarray] = {}
        for n, layer in enumerate(self._layers):
            for site in layer.state_formats:
                name = f"{layer.cell_kind}_{n}/{site}"
                if layer.carries_state:
                    kept[name] = self._carried[name][0]
                elif isinstance(self.runtime, LiteRt):
                    kept[name] = self.runtime.tensor(name)[0]
        return kept

    def take_over(self, other: "_Network") -> None:
        """Continues the stream of another graph."""
        self._carried = dict(other._carried)
        inside = [layer for layer in self._layers if not layer.carries_state]
        if inside and not isinstance(self.runtime, LiteRt):
            raise ValueError(
                "a stream changed its chunk length, and this runtime hides the fused LSTMs' "
                "states: pass whole chunks only, or replay in LiteRT"
            )
        for name, values in other.states().items():
            if name not in self._carried and isinstance(self.runtime, LiteRt):
                self.runtime.set_state(name, values[None])
