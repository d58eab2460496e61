"""What a streaming recognizer computed, step by step, and where two of them part.

``Traced`` stands between ``greedy`` and any ``StreamingRecognizer`` and keeps every result and
every recurrent state after each call. Two traces of one utterance compare for equality, integer by
integer; the first difference is told by call, tensor and element.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer, Num

from rnnt_qat.artefact.player import StreamingRecognizer


@dataclass(frozen=True)
class Difference:
    """Where a recognizer first left the player.

    Attributes:
      step: what was being computed, e.g. ``encoder chunk 3``.
      tensor: the first differing result in the player's order, named as in the graphs.
      index: its first differing element.
      player: the player's integer there.
      other: the other's.
      count: how many elements of the tensor differ.
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
    """The first element of one tensor that differs; ``other`` may have another shape."""
    found = other.reshape(player.shape)
    different = found != player
    if not different.any():
        return None
    index = tuple(int(i) for i in np.argwhere(different)[0])
    count = int(different.sum())
    return Difference(step, tensor, index, int(player[index]), int(found[index]), count)


@dataclass(frozen=True, eq=False)
class Step:
    """One call: its name, its result and the states after it, by name, in order of computation."""

    name: str
    tensors: Mapping[str, np.ndarray]


class Traced:
    """A ``StreamingRecognizer`` that keeps what another one computes.

    Attributes:
      steps: calls since the last reset, in order.
    """

    def __init__(self, recognizer: StreamingRecognizer) -> None:
        self._recognizer = recognizer
        self.steps: list[Step] = []

    def reset(self) -> None:
        """Before the first frame and the start symbol; forgets what was kept."""
        self._recognizer.reset()
        self.steps = []
        self._chunk = self._next_frame = self._labels = 0

    def encode(self, features: Num[np.ndarray, "T F"]) -> Integer[np.ndarray, "Tr J"]:
        """The next chunk."""
        encoded = self._recognizer.encode(features)
        name = f"encoder chunk {self._chunk} (frames {self._next_frame} on)"
        self._keep(name, "encoder", {"encoder/encoded": encoded})
        self._chunk, self._next_frame = self._chunk + 1, self._next_frame + len(encoded)
        return encoded

    def predict(self, label: int) -> Integer[np.ndarray, "J"]:
        """The next label."""
        predicted = self._recognizer.predict(label)
        name = f"prediction step {self._labels} (after label {label})"
        self._keep(name, "prediction", {"prediction/predicted": predicted})
        self._labels += 1
        return predicted

    def joint(self, encoded: Integer[np.ndarray, "J"], predicted: Integer[np.ndarray, "J"]) -> int:
        """The likeliest label."""
        label = self._recognizer.joint(encoded, predicted)
        name = f"joint in encoder chunk {self._chunk - 1}, {self._labels - 1} labels emitted"
        self.steps.append(Step(name, {"joint/label": np.array([label])}))
        return label

    def states(self) -> Mapping[str, np.ndarray]:
        """The recurrent states in force."""
        return self._recognizer.states()

    def _keep(self, name: str, network: str, result: dict[str, np.ndarray]) -> None:
        """States come first: the result was computed from them."""
        states = self._recognizer.states().items()
        here = {site: values.copy() for site, values in states if site.startswith(network)}
        self.steps.append(Step(name, here | result))


@dataclass(frozen=True)
class Comparison:
    """Two traces of one utterance.

    Attributes:
      integers: how many were compared.
      differing: how many of them differ.
      first: the first that does.
    """

    integers: int
    differing: int
    first: Difference | None


def compare_traces(player: list[Step], other: list[Step]) -> Comparison:
    """Step by step, up to where the searches part: after that they compute different things.

    A state that the other hides is not compared.
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
