"""Traces of streaming recognizers, step by step, and their comparison.

``Traced`` wraps any ``StreamingRecognizer`` and keeps every result and, after each call, every
recurrent state. Two traces of one utterance are compared for equality, integer by integer; the
first difference is reported by call, tensor and element.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer, Num

from rnnt_qat.artefact.player import StreamingRecognizer


@dataclass(frozen=True)
class Difference:
    """The first difference of a recognizer from the player.

    Attributes:
      step: the call, e.g. ``encoder chunk 3``.
      tensor: name of the first different result in the player's order, as in the graphs.
      index: its first different element.
      player: the player's integer.
      other: the other's integer.
      count: number of different elements of the tensor.
    """

    step: str
    tensor: str
    index: tuple[int, ...]
    player: int
    other: int
    count: int

    def __str__(self) -> str:
        return (
            f"{self.step}: {self.tensor}{list(self.index)} is {self.other}, "
            f"{self.player} in the player ({self.count} elements of it differ)"
        )


def first_difference_of(
    step: str, tensor: str, player: np.ndarray, other: np.ndarray
) -> Difference | None:
    """Returns the first different element of one tensor.

    Args:
      step: the call.
      tensor: name of the tensor.
      player: the player's values.
      other: the other's values; the shape may differ.
    """
    found = other.reshape(player.shape)
    different = found != player
    if not different.any():
        return None
    index = tuple(int(i) for i in np.argwhere(different)[0])
    count = int(different.sum())
    return Difference(step, tensor, index, int(player[index]), int(found[index]), count)


@dataclass(frozen=True, eq=False)
class Step:
    """One call.

    Attributes:
      name: description of the call.
      tensors: the states after the call and its result, by name, in order of computation.
    """

    name: str
    tensors: Mapping[str, np.ndarray]


class Traced:
    """A ``StreamingRecognizer`` that keeps the results of another one.

    Attributes:
      steps: calls since the last reset, in order.
    """

    def __init__(self, recognizer: StreamingRecognizer) -> None:
        self._recognizer = recognizer
        self.steps: list[Step] = []

    def reset(self) -> None:
        """Sets the state before the first frame and the start symbol, and discards the trace."""
        self._recognizer.reset()
        self.steps = []
        self._chunk = self._next_frame = self._labels = 0

    def encode(self, features: Num[np.ndarray, "T F"]) -> Integer[np.ndarray, "Tr J"]:
        """Encodes the next chunk."""
        encoded = self._recognizer.encode(features)
        name = f"encoder chunk {self._chunk} (frames {self._next_frame} on)"
        self._keep(name, "encoder", {"encoder/encoded": encoded})
        self._chunk, self._next_frame = self._chunk + 1, self._next_frame + len(encoded)
        return encoded

    def predict(self, label: int) -> Integer[np.ndarray, "J"]:
        """Returns the prediction projection after the next label."""
        predicted = self._recognizer.predict(label)
        name = f"prediction step {self._labels} (after label {label})"
        self._keep(name, "prediction", {"prediction/predicted": predicted})
        self._labels += 1
        return predicted

    def joint(self, encoded: Integer[np.ndarray, "J"], predicted: Integer[np.ndarray, "J"]) -> int:
        """Returns the most probable label."""
        label = self._recognizer.joint(encoded, predicted)
        name = f"joint in encoder chunk {self._chunk - 1}, {self._labels - 1} labels emitted"
        self.steps.append(Step(name, {"joint/label": np.array([label])}))
        return label

    def states(self) -> Mapping[str, np.ndarray]:
        """Returns the current recurrent states."""
        return self._recognizer.states()

    def _keep(self, name: str, network: str, result: dict[str, np.ndarray]) -> None:
        """Adds a step; states precede the result, which was computed from them."""
        states = self._recognizer.states().items()
        here = {site: values.copy() for site, values in states if site.startswith(network)}
        self.steps.append(Step(name, here | result))


@dataclass(frozen=True)
class Comparison:
    """The comparison of two traces of one utterance.

    Attributes:
      integers: number of integers compared.
      differing: number of integers that differ.
      first: the first difference.
    """

    integers: int
    differing: int
    first: Difference | None


def compare_traces(player: list[Step], other: list[Step]) -> Comparison:
    """Compares traces step by step, until the searches diverge and compute different things.

    States that the other recognizer hides are not compared.

    Args:
      player: trace of the player.
      other: trace of the other recognizer.
    """
    integers = differing = 0
    first = None
    for ours, theirs in zip(player, other, strict=False):
        if ours.name != theirs.name:
            break
        for tensor in (name for name in ours.tensors if name in theirs.tensors):
            values = ours.tensors[tensor]
            found = first_difference_of(ours.name, tensor, values, theirs.tensors[tensor])
            integers += values.size
            if found is not None:
                differing += found.count
                first = first or found
    return Comparison(integers, differing, first)
