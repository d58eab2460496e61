"""Every operator's result inside the JAX model, under the names that player and graphs give it.

For finding a difference, not for speed: each operator set is wrapped where its layer asks for it,
and tells the host what it returned, in order.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import numpy as np

from rnnt_qat.artefact.integers import RecurrentIntegers, RnntIntegers
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
"""Sites of the joint by their names in the graphs."""

Tell = Callable[[str, np.ndarray], None]


@flax.struct.dataclass
class TellingOperators:
    """An operator set whose results the host hears of.

    Attributes:
      inner: computes.
      layer: whose operators they are.
      tell: is called with layer, site and values.
    """

    inner: OperatorSet
    layer: str = flax.struct.field(pytree_node=False)
    tell: Tell = flax.struct.field(pytree_node=False)

    def __getattr__(self, name: str) -> Any:
        """What is only moved, loaded or multiplied is not told."""
        return getattr(self.inner, name)

    def store(self, site: str, x: Value) -> Value:
        """Told under the site."""
        return self._told(site, self.inner.store(site, x))

    def add(self, a: Value, b: Value, out: str) -> Value:
        """Told under ``out``."""
        return self._told(out, self.inner.add(a, b, out))

    def mul(self, a: Value, b: Value, out: str) -> Value:
        """Told under ``out``."""
        return self._told(out, self.inner.mul(a, b, out))

    def sigmoid(self, x: Value, out: str) -> Value:
        """Told under ``out``."""
        return self._told(out, self.inner.sigmoid(x, out))

    def tanh(self, x: Value, out: str) -> Value:
        """Told under ``out``."""
        return self._told(out, self.inner.tanh(x, out))

    def _told(self, site: str, result: Value) -> Value:
        name = f"{self.layer}/{site}"

        def heard(values: Array) -> None:
            self.tell(name, np.asarray(values))

        jax.debug.callback(heard, self.inner.values(result), ordered=True)
        return result


Told = Sequence[tuple[str, np.ndarray]]
"""Sites and values of one layer, in the order in which they were told."""


def _lstm_results(path: str, told: Told) -> dict[str, np.ndarray]:
    """What an LSTM told under the names that player and graphs give it."""
    found = {f"{path}/projected": v[:, 0] for site, v in told if site == "gate_input"}
    inside = [values for site, values in told if site != "gate_input"]
    for place, values in enumerate(inside):
        frame, operator = divmod(place, len(_STEP))
        found[f"{path}/{frame}/{_STEP[operator]}"] = values
    return found


def _recorded_results(path: str, told: Told) -> dict[str, np.ndarray]:
    """Sites numbered in the order of their calls, as in a frame's record.

    What is told of all frames at once, before or after the scan, has a time axis.
    """
    inside = [n for n, (_, values) in enumerate(told) if values.ndim == 2]
    first, last = (inside[0], inside[-1]) if inside else (len(told), len(told))
    frames = next(values.shape[0] for _, values in told if values.ndim == 3)
    found: dict[str, np.ndarray] = {}
    calls: Counter[str] = Counter()
    for site, values in told[:first]:
        calls[site] += 1
        found[f"{path}/{site}_{calls[site]}"] = values[:, 0]
    steps = told[first : last + 1]
    each = len(steps) // frames
    for frame in range(frames):
        here = Counter(calls)
        for site, values in steps[frame * each : (frame + 1) * each]:
            here[site] += 1
            found[f"{path}/{frame}/{site}_{here[site]}"] = values
    calls = here
    for site, values in told[last + 1 :]:
        calls[site] += 1
        found |= {f"{path}/{t}/{site}_{calls[site]}": values[t] for t in range(frames)}
    return found


class OperatorTrace(TransducerRecognizer):
    """A ``TransducerRecognizer`` whose operators' results can be asked for after each call."""

    def __init__(self, transducer: Transducer, model: RnntIntegers) -> None:
        super().__init__(transducer, model)
        self._layers = {
            f"{network}/{layer.cell_kind}_{n}": layer
            for network, part in (("encoder", model.encoder), ("prediction", model.prediction))
            for n, layer in enumerate(part.layers)
        }
        self._told: list[tuple[str, np.ndarray]] = []

        @partial(jax.jit, static_argnums=0)
        def telling(program: Callable, *arguments: PyTree) -> PyTree:
            with nn.intercept_methods(self._wrap):
                return program(*arguments)

        self._telling = telling

    def run(self, program: Callable, *arguments: PyTree) -> PyTree:
        """Forgets what was told before."""
        self._told.clear()
        result = self._telling(program, *arguments)
        jax.effects_barrier()
        return result

    def tensor(self, name: str) -> np.ndarray | None:
        """An operator's result in the last call, as the player records it."""
        for path, layer in self._layers.items():
            if name.startswith(f"{path}/"):
                return self._recurrent(path, layer, name)
        found = {}
        for told, values in self._told:
            place, site = told.rsplit("/", 1)
            if place == "joint":
                found[_SITES[site]] = values[0] if site in ("encoded", "predicted") else values
        return found.get(name)

    def _recurrent(self, path: str, layer: RecurrentIntegers, name: str) -> np.ndarray | None:
        """A result of a recurrent layer; its outputs in all frames are its ``hiddens``."""
        told = [
            (each.removeprefix(f"{path}/"), values)
            for each, values in self._told
            if each.rpartition("/")[0] == path and values.ndim  # a constant has no frames
        ]
        if not told:
            return None
        if isinstance(layer, RecordedLayer):
            found, output = _recorded_results(path, told), layer.result
        else:
            found, output = _lstm_results(path, told), "hidden"
        if name != f"{path}/hiddens":
            return found.get(name)
        rows = [values for each, values in found.items() if each.endswith(f"/{output}")]
        return np.concatenate([row for row in rows if row.ndim == 2])

    def _wrap(self, method: Callable, arguments: tuple, options: dict, context: Any) -> Any:
        """Around every method of the model: operator sets are handed out telling."""
        result = method(*arguments, **options)
        module = context.module
        if context.method_name != "operators" or not isinstance(module, QuantizedModule):
            return result
        return TellingOperators(result, "/".join(module.path), self._tell)

    def _tell(self, name: str, values: np.ndarray) -> None:
        self._told.append((name, values))
