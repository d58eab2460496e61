"""Replay of the player's calls in a runtime that computes many of them at once.

A runtime that starts a process for every run, as TOSA's reference model does, cannot decode a
stream call by call. Instead the player decodes, every call is kept with the states before and after
it, and the runtime computes all calls of a kind in batches. If every result of every call agrees,
the streams agree too: each call starts from the states that the one before it left.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.layer_integers import RecurrentIntegers
from rnnt_qat.artefact.player import BLANK_ID, Player
from rnnt_qat.export.rnnt_graphs import encoder_chunk, joint_step, prediction_step
from rnnt_qat.verify.runtimes import Runtime
from rnnt_qat.verify.trace import Difference, first_difference_of

BATCH = 1024
"""Most calls of one run."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one network of one stream.

    Attributes:
      network: ``encoder``, ``prediction`` or ``joint``.
      frames: feature frames of the encoder's chunk; 1 for the others.
      inputs: inputs of the graph, in order: one row, or one per frame or label.
      results: results of the graph by name, in order.
    """

    network: str
    frames: int
    inputs: tuple[Integer[np.ndarray, "R W"], ...]
    results: Mapping[str, Integer[np.ndarray, "R W"]]


class RecordedPlayer:
    """The player, which keeps all of its calls; a ``StreamingRecognizer``.

    Attributes:
      model: the integers.
      player: the player; its states may be set between calls.
      calls: every call, in order; those of earlier streams stay.
    """

    def __init__(self, model: RnntIntegers) -> None:
        self.model = model
        self.player = Player(model)
        self.calls: list[Call] = []
        self.reset()

    def reset(self) -> None:
        """Sets the state before the first frame and the start symbol."""
        self.player.reset()
        self._labels = [BLANK_ID] * self.model.prediction.context

    def encode(self, features: Integer[np.ndarray, "T F"]) -> Integer[np.ndarray, "Tr J"]:
        """Encodes the next chunk."""
        before = self._states("encoder", self.model.encoder.layers)
        encoded = self.player.encode(features)
        self._keep("encoder", len(features), (features,), before, {"encoder/encoded": encoded})
        return encoded

    def predict(self, label: int) -> Integer[np.ndarray, "J"]:
        """Returns the prediction projection after the next label."""
        self._labels = [*self._labels[1:], label]
        before = self._states("prediction", self.model.prediction.layers)
        predicted = self.player.predict(label)
        rows = self.model.prediction.embedding[self._labels]
        self._keep("prediction", 1, (rows,), before, {"prediction/predicted": predicted[None]})
        return predicted

    def joint(self, encoded: Integer[np.ndarray, "J"], predicted: Integer[np.ndarray, "J"]) -> int:
        """Returns the most probable label, the lowest index among equals."""
        logits = self.player.logits(encoded, predicted)
        self._keep("joint", 1, (encoded[None], predicted[None]), {}, {"joint/logits": logits[None]})
        return int(np.argmax(logits))

    def states(self) -> Mapping[str, np.ndarray]:
        """Returns every state of every recurrent layer."""
        return self.player.states()

    def _states(self, network: str, layers: Sequence[RecurrentIntegers]) -> dict[str, np.ndarray]:
        """Returns the states of a network in the order of its graph, as rows."""
        states = self.player.states()
        return {
            name: states[name][None]
            for n, layer in enumerate(layers)
            for name in (f"{network}/{layer.cell_kind}_{n}/{s}" for s in layer.state_formats)
        }

    def _keep(
        self,
        network: str,
        frames: int,
        inputs: tuple[np.ndarray, ...],
        before: Mapping[str, np.ndarray],
        results: dict[str, np.ndarray],
    ) -> None:
        states = self.player.states()
        after = {name: states[name][None] for name in before}
        self.calls.append(Call(network, frames, (*inputs, *before.values()), results | after))


@dataclass(frozen=True)
class CallComparison:
    """The comparison of all calls.

    Attributes:
      integers: number of results compared.
      differing: number of results that differ.
      differing_labels: number of joint calls whose most probable label differs.
      first: the first difference.
    """

    integers: int
    differing: int
    differing_labels: int
    first: Difference | None


def compare_calls(
    model: RnntIntegers,
    calls: Sequence[Call],
    load: Callable[[bytes], Runtime],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CallComparison:
    """Computes calls in a runtime and compares every result for equality.

    Args:
      model: the integers, whose layers carry their states.
      calls: calls of the player.
      load: creates a runtime from a `.tflite` file's bytes.
      progress: called with the numbers of computed and of all calls.
    """
    integers = differing = labels = done = 0
    firsts: list[tuple[int, Difference]] = []
    for places, batch in _batches(calls):
        results = load(_graph(model, batch[0], len(batch))).run(*_inputs(batch))
        for result, name in zip(results, batch[0].results, strict=True):
            # Rows of a frame are adjacent.
            rows = result.reshape(-1, len(batch), result.shape[-1])
            expected = np.stack([call.results[name] for call in batch], axis=1)
            integers += expected.size
            differing += int((rows != expected).sum())
            if name == "joint/logits":
                labels += int((rows.argmax(axis=-1) != expected.argmax(axis=-1)).sum())
            for n in np.flatnonzero((rows != expected).any(axis=(0, 2)))[:1]:
                step = f"{batch[n].network} call {places[n]}"
                found = first_difference_of(step, name, expected[:, n], rows[:, n])
                assert found is not None
                firsts.append((places[n], found))
        done += len(batch)
        progress(done, len(calls))
    first = min(firsts, key=lambda found: found[0])[1] if firsts else None
    return CallComparison(integers, differing, labels, first)


def _batches(calls: Sequence[Call]) -> Iterator[tuple[list[int], list[Call]]]:
    """Yields calls of one graph with their places among all calls."""
    kinds: dict[tuple[str, int], list[int]] = defaultdict(list)
    for place, call in enumerate(calls):
        kinds[call.network, call.frames].append(place)
    for places in kinds.values():
        for start in range(0, len(places), BATCH):
            here = places[start : start + BATCH]
            yield here, [calls[place] for place in here]


def _graph(model: RnntIntegers, call: Call, streams: int) -> bytes:
    if call.network == "encoder":
        return encoder_chunk(model, call.frames, streams)
    graph = prediction_step if call.network == "prediction" else joint_step
    return graph(model, streams=streams)


def _inputs(calls: Sequence[Call]) -> list[np.ndarray]:
    """Returns the inputs of a graph of several streams."""
    inputs = [np.stack(arrays) for arrays in zip(*(call.inputs for call in calls), strict=True)]
    if calls[0].network == "encoder":  # rows of a frame are adjacent, not those of a stream
        inputs = [array.swapaxes(0, 1) for array in inputs]
    return [np.ascontiguousarray(array.reshape(-1, array.shape[-1])) for array in inputs]
