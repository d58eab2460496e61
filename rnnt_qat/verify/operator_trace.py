"""Every operator's result inside the JAX model, under the names that player and graphs give it.

For finding a difference, not for speed: each operator set is wrapped where its layer asks for it,
and tells the host what it returned, in order.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import numpy as np

from rnnt_qat.artefact.integers import RnntIntegers
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


class OperatorTrace(TransducerRecognizer):
    """A ``TransducerRecognizer`` whose operators' results can be asked for after each call."""

    def __init__(self, transducer: Transducer, model: RnntIntegers) -> None:
        super().__init__(transducer, model)
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
        steps: Counter[str] = Counter()
        found: dict[str, np.ndarray] = {}
        for told, values in self._told:
            layer, site = told.rsplit("/", 1)
            if layer == "joint":
                found[_SITES[site]] = values[0] if site in ("encoded", "predicted") else values
            elif site == "gate_input":
                found[f"{layer}/projected"] = values[:, 0]
            else:
                frame, operator = divmod(steps[layer], len(_STEP))
                found[f"{layer}/{frame}/{_STEP[operator]}"] = values
                steps[layer] += 1
        layer, _, site = name.rpartition("/")
        if site != "hiddens":
            return found.get(name)
        rows = [found[f"{layer}/{t}/hidden"] for t in range(steps[layer] // len(_STEP))]
        return np.concatenate(rows) if rows else None

    def _wrap(self, method: Callable, arguments: tuple, options: dict, context: Any) -> Any:
        """Around every method of the model: operator sets are handed out telling."""
        result = method(*arguments, **options)
        module = context.module
        if context.method_name != "operators" or not isinstance(module, QuantizedModule):
            return result
        return TellingOperators(result, "/".join(module.path), self._tell)

    def _tell(self, name: str, values: np.ndarray) -> None:
        self._told.append((name, values))
