"""The JAX model as a streaming recognizer: real features in, the chip's integers out.

The player's ``greedy`` can thus drive the trained model, the NumPy player and the exported graphs,
and their tokens, emission frames and states can be compared for equality.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.typing import PyTree


def _encode(transducer, features, mask, state):
    return transducer.encode(features, mask, state)


def _predict(transducer, label, state):
    return transducer.predict(label, state)


def _likeliest(transducer, encoded, predicted):
    return jnp.argmax(transducer.joint(encoded, predicted), axis=-1)


_run = jax.jit(lambda program, *arguments: program(*arguments), static_argnums=0)


class TransducerRecognizer:
    """A ``StreamingRecognizer`` over a ``Transducer`` that computes on a chip.

    Args:
      transducer: a pytree, under the policy from which ``model`` was frozen.
      model: the integers; only their formats are used.
    """

    def __init__(self, transducer: Transducer, model: RnntIntegers) -> None:
        self._transducer = transducer
        self._model = model
        self._chunk = 0
        self.reset()

    def run(self, program: Callable, *arguments: PyTree) -> PyTree:
        """Runs a compiled call of a part of the model."""
        return _run(program, *arguments)

    def reset(self) -> None:
        """Sets the state before the first frame and the start symbol."""
        self._encoder = self._transducer.initial_encoder_state(1)
        self._prediction = self._transducer.initial_prediction_state(1)

    def encode(self, features: Float[np.ndarray, "T F"]) -> Integer[np.ndarray, "Tr J"]:
        """Encodes the next chunk of normalized features; the model quantizes them."""
        encoder = self._model.encoder
        # The shorter last chunk of an utterance uses the program of the longest chunk so far.
        self._chunk = max(self._chunk, len(features))
        length = -(-self._chunk // encoder.time_reduction) * encoder.time_reduction
        padded = np.pad(features, ((0, length - len(features)), (0, 0)))
        mask = np.arange(length) < len(features)
        encoded, valid, self._encoder = self.run(
            _encode, self._transducer, padded[None], mask[None], self._encoder
        )
        frames, self._carried = int(np.sum(valid)), encoded.dtype
        return np.asarray(encoded[0, :frames]).astype(encoder.projection.output.dtype)

    def predict(self, label: int) -> Integer[np.ndarray, "J"]:
        """Returns the prediction projection after the next label."""
        label_array = jnp.array([label], jnp.int32)
        predicted, self._prediction = self.run(
            _predict, self._transducer, label_array, self._prediction
        )
        return np.asarray(predicted[0]).astype(self._model.prediction.projection.output.dtype)

    def joint(self, encoded: Integer[np.ndarray, "J"], predicted: Integer[np.ndarray, "J"]) -> int:
        """Returns the most probable label, the lowest index among equals."""
        carried = [jnp.asarray(x, self._carried) for x in (encoded, predicted)]
        return int(self.run(_likeliest, self._transducer, *carried))

    def states(self) -> Mapping[str, np.ndarray]:
        """Returns every state of every recurrent layer."""
        found = {}
        for network, states in (("encoder", self._encoder), ("prediction", self._prediction)):
            layers = getattr(self._model, network).layers
            for n, (layer, state) in enumerate(zip(layers, states, strict=False)):
                for site, (_, tensor_format) in layer.state_formats.items():
                    values = np.asarray(getattr(state, site)[0]).astype(tensor_format.dtype)
                    found[f"{network}/{layer.cell_kind}_{n}/{site}"] = values
        return found
