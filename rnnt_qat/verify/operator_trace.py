"""Results of every operator in the JAX model, under the names of the player and the graphs.

It is for locating a difference and not fast: the operator set of each layer is wrapped where the
layer requests it, and a host callback receives every result, in order.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import numpy as np

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.layer_integers import RecurrentIntegers
from rnnt_qat.artefact.recorded_layer import RecordedLayer
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.quant.operators import OperatorSet, Value
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.typing import Array, PyTree
from rnnt_qat.verify.transducer_replay import TransducerRecognizer

_STEP = ("pre", "i", "f", "o", "g", "kept", "written", "cell", "tanh_cell", "hidden")
"""Results of one LSTM step in the order in which ``layers.lstm_scan`` computes them."""
_SITES = {
    "encoded": "encoder/encoded",
    "predicted": "prediction/predicted",
    "hidden_pre": "joint/hidden_pre",
    "hidden": "joint/hidden",
    "logits": "joint/logits",
}
"""Names in the graphs by site of the joint."""

ResultCallback = Callable[[str, np.ndarray], None]


@flax.struct.dataclass
class ObservedOperators:
    """An operator set that sends its results to the host.

    Attributes:
      inner: computes the results.
      layer: path of the layer.
      callback: called on the host with ``{layer}/{site}`` and the values.
    """

    inner: OperatorSet
    layer: str = flax.struct.field(pytree_node=False)
    callback: ResultCallback = flax.struct.field(pytree_node=False)

    def __getattr__(self, name: str) -> Any:
        """Delegates operators that only move, load or multiply values, and sends nothing."""
        return getattr(self.inner, name)

    def store(self, site: str, x: Value) -> Value:
        """Stores and sends the result under the site."""
        return self._observed(site, self.inner.store(site, x))

    def add(self, a: Value, b: Value, out: str) -> Value:
        """Adds and sends the result under ``out``."""
        return self._observed(out, self.inner.add(a, b, out))

    def mul(self, a: Value, b: Value, out: str) -> Value:
        """Multiplies and sends the result under ``out``."""
        return self._observed(out, self.inner.mul(a, b, out))

    def sigmoid(self, x: Value, out: str) -> Value:
        """Applies the sigmoid and sends the result under ``out``."""
        return self._observed(out, self.inner.sigmoid(x, out))

    def tanh(self, x: Value, out: str) -> Value:
        """Applies tanh and sends the result under ``out``."""
        return self._observed(out, self.inner.tanh(x, out))

    def _observed(self, site: str, result: Value) -> Value:
        name = f"{self.layer}/{site}"

        def send(values: Array) -> None:
            self.callback(name, np.asarray(values))

        jax.debug.callback(send, self.inner.values(result), ordered=True)
        return result


LayerResults = Sequence[tuple[str, np.ndarray]]
"""Sites and values of one layer, in the order in which they were computed."""


def _lstm_results(path: str, results: LayerResults) -> dict[str, np.ndarray]:
    """Returns the results of an LSTM under the names of the player and the graphs."""
    found = {f"{path}/projected": v[:, 0] for site, v in results if site == "gate_input"}
    inside = [values for site, values in results if site != "gate_input"]
    for place, values in enumerate(inside):
        frame, operator = divmod(place, len(_STEP))
        found[f"{path}/{frame}/{_STEP[operator]}"] = values
    return found


def _recorded_results(path: str, results: LayerResults) -> dict[str, np.ndarray]:
    """Returns results numbered by site in the order of calls, as in the record of a frame.

    Results of all frames at once, before or after the scan, have a time axis.
    """
    inside = [n for n, (_, values) in enumerate(results) if values.ndim == 2]
    first, last = (inside[0], inside[-1]) if inside else (len(results), len(results))
    frames = next(values.shape[0] for _, values in results if values.ndim == 3)
    found: dict[str, np.ndarray] = {}
    calls: Counter[str] = Counter()
    for site, values in results[:first]:
        calls[site] += 1
        found[f"{path}/{site}_{calls[site]}"] = values[:, 0]
    steps = results[first : last + 1]
    each = len(steps) // frames
    for frame in range(frames):
        here = Counter(calls)
        for site, values in steps[frame * each : (frame + 1) * each]:
            here[site] += 1
            found[f"{path}/{frame}/{site}_{here[site]}"] = values
    calls = here
    for site, values in results[last + 1 :]:
        calls[site] += 1
        found |= {f"{path}/{t}/{site}_{calls[site]}": values[t] for t in range(frames)}
    return found


class OperatorTrace(TransducerRecognizer):
    """A ``TransducerRecognizer`` that keeps the results of all operators of the last call."""

    def __init__(self, transducer: Transducer, model: RnntIntegers) -> None:
        super().__init__(transducer, model)
        self._layers = {
            f"{network}/{layer.cell_kind}_{n}": layer
            for network, part in (("encoder", model.encoder), ("prediction", model.prediction))
            for n, layer in enumerate(part.layers)
        }
        self._results: list[tuple[str, np.ndarray]] = []

        @partial(jax.jit, static_argnums=0)
        def observed(program: Callable, *arguments: PyTree) -> PyTree:
            with nn.intercept_methods(self._wrap):
                return program(*arguments)

        self._observed = observed

    def run(self, program: Callable, *arguments: PyTree) -> PyTree:
        """Runs a program after discarding the results of earlier calls."""
        self._results.clear()
        result = self._observed(program, *arguments)
        jax.effects_barrier()
        return result

    def tensor(self, name: str) -> np.ndarray | None:
        """Returns an operator's result in the last call, named as by the player."""
        for path, layer in self._layers.items():
            if name.startswith(f"{path}/"):
                return self._recurrent(path, layer, name)
        found = {}
        for full_name, values in self._results:
            place, site = full_name.rsplit("/", 1)
            if place == "joint":
                found[_SITES[site]] = values[0] if site in ("encoded", "predicted") else values
        return found.get(name)

    def _recurrent(self, path: str, layer: RecurrentIntegers, name: str) -> np.ndarray | None:
        """Returns a result of a recurrent layer; ``hiddens`` are its outputs of all frames."""
        results = [
            (each.removeprefix(f"{path}/"), values)
            for each, values in self._results
            if each.rpartition("/")[0] == path and values.ndim  # a constant has no frames
        ]
        if not results:
            return None
        if isinstance(layer, RecordedLayer):
            found, output = _recorded_results(path, results), layer.result
        else:
            found, output = _lstm_results(path, results), "hidden"
        if name != f"{path}/hiddens":
            return found.get(name)
        rows = [values for each, values in found.items() if each.endswith(f"/{output}")]
        return np.concatenate([row for row in rows if row.ndim == 2])

    def _wrap(self, method: Callable, arguments: tuple, options: dict, context: Any) -> Any:
        """Intercepts the methods of the model and wraps the operator sets that they return."""
        result = method(*arguments, **options)
        module = context.module
        if context.method_name != "operators" or not isinstance(module, QuantizedModule):
            return result
        return ObservedOperators(result, "/".join(module.path), self._receive)

    def _receive(self, name: str, values: np.ndarray) -> None:
        self._results.append((name, values))
