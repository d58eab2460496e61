"""A record of the operator calls of layers, in order.

Freezing, the table of formats and export read a model from such a record, so none of them depends
on the topology of the network. A layer that computes with its operator set alone can be frozen,
listed and exported without further code.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import flax.struct

from rnnt_qat.accelerators.spec import Operator
from rnnt_qat.quant.operators import Addends, OperatorSet, Value
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.quant.sites import Sites
from rnnt_qat.typing import Array, Int, Num, PyTree

Path = tuple[str, ...]

_OPERATORS = {operator.value: operator for operator in Operator}


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer whose calls are recorded.

    Attributes:
      path: module path.
      module: the module, valid while it runs.
      sites: the sites for which it requested its operators.
    """

    path: Path
    module: QuantizedModule
    sites: Sites

    def parameter_name(self, value: Any) -> str | None:
        """Returns the name of the layer's parameter that ``value`` is, or None if it is none."""
        parameters = self.module.variables.get("params", {})
        return next((name for name, leaf in parameters.items() if leaf is value), None)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an operator.

    Operands and results of calls inside a scan are tracers of that scan: only their order and
    identity are meaningful after it.

    Attributes:
      layer: the layer that made the call.
      operator: method of the operator set.
      site: site read from memory or written; empty for ``accumulate`` and ``lookup``.
      operands: the operands, in the order of the method's arguments.
      result: the result.
      operators: the layer's operator set.
      parameter: name of the layer's parameter passed as kernel, bias or table; None if none was, or
        if the layer modified it first.
    """

    layer: Layer
    operator: str
    site: str
    operands: tuple[Any, ...]
    result: Any
    operators: OperatorSet
    parameter: str | None = None


@dataclass(frozen=True, eq=False)
class Record:
    """The layers in the order of their first call, and all calls in order.

    Attributes:
      layers: layers in the order in which they requested operators.
      calls: all calls in order.
    """

    layers: list[Layer] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


@dataclass(frozen=True)
class Parameter:
    """The format of a parameter on the chip.

    Attributes:
      layer: path of the layer whose precision applies.
      site: site whose format applies; empty for a bias, which has the accumulator's format.
    """

    layer: Path
    site: str


@flax.struct.dataclass
class RecordedOperators:
    """An ``OperatorSet`` that computes as ``plain`` and records every call.

    Attributes:
      plain: the layer's operators.
      layer: the layer that owns them.
      record: receives the calls.
    """

    plain: OperatorSet
    layer: Layer = flax.struct.field(pytree_node=False)
    record: Record = flax.struct.field(pytree_node=False)

    def weight(
        self,
        site: str,
        w: Num[Array, "K M"],
        x: Value | None = None,
        bias: Num[Array, "M"] | None = None,
    ) -> Value:
        """Records the call with the name of the kernel."""
        name = self.layer.parameter_name(w)
        return self._noted("weight", site, (w, x, bias), self.plain.weight(site, w, x, bias), name)

    def lookup(self, table: Num[Array, "V E"], rows: Int[Array, "*S"]) -> Value:
        """Records the call with the name of the table."""
        name = self.layer.parameter_name(table)
        return self._noted("lookup", "", (table, rows), self.plain.lookup(table, rows), name)

    def store(self, site: str, x: Value) -> Value:
        """Records the call."""
        return self._noted("store", site, (x,), self.plain.store(site, x))

    def input(self, site: str, x: Value) -> Value:
        """Records the call."""
        return self._noted("input", site, (x,), self.plain.input(site, x))

    def values(self, x: Value) -> Num[Array, "*S"]:
        """Returns the bare array without recording: nothing is computed."""
        return self.plain.values(x)

    def load(self, site: str, values: Num[Array, "*S"]) -> Value:
        """Attaches the scale without recording: nothing is computed."""
        return self.plain.load(site, values)

    def accumulate(self, x: Value, w: Value, bias: Num[Array, "M"] | None = None) -> Value:
        """Records the call with the name of the bias."""
        name = None if bias is None else self.layer.parameter_name(bias)
        result = self.plain.accumulate(x, w, bias)
        return self._noted("accumulate", "", (x, w, bias), result, name)

    def add(self, a: Value, b: Value, out: str) -> Value:
        """Records the call."""
        return self._noted("add", out, (a, b), self.plain.add(a, b, out))

    def align(self, site: str, values: Num[Array, "*S"], addends: Addends, out: str) -> PyTree:
        """Aligns without recording: it is a part of ``add`` that training computes separately."""
        return self.plain.align(site, values, addends, out)

    def add_aligned(self, a: PyTree, b: PyTree, addends: Addends, out: str) -> Value:
        """Records the call as ``add``."""
        return self._noted("add", out, (a, b), self.plain.add_aligned(a, b, addends, out))

    def mul(self, a: Value, b: Value, out: str) -> Value:
        """Records the call."""
        return self._noted("mul", out, (a, b), self.plain.mul(a, b, out))

    def sigmoid(self, x: Value, out: str) -> Value:
        """Records the call."""
        return self._noted("sigmoid", out, (x,), self.plain.sigmoid(x, out))

    def tanh(self, x: Value, out: str) -> Value:
        """Records the call."""
        return self._noted("tanh", out, (x,), self.plain.tanh(x, out))

    def layer_norm(self, x: Value, out: str) -> Value:
        """Records the call."""
        return self._noted("layer_norm", out, (x,), self.plain.layer_norm(x, out))

    def _noted(
        self,
        operator: str,
        site: str,
        operands: tuple[Any, ...],
        result: Value,
        parameter: str | None = None,
    ) -> Value:
        call = Call(self.layer, operator, site, operands, result, self.plain, parameter)
        self.record.calls.append(call)
        return result


@contextmanager
def recorded() -> Iterator[Record]:
    """Records the calls of every layer that requests its operators within the context."""
    record = Record()

    def wrap(method: Any, arguments: tuple, options: dict, context: Any) -> Any:
        result, module = method(*arguments, **options), context.module
        if context.method_name != "operators" or not isinstance(module, QuantizedModule):
            return result
        layer = Layer(module.path, module, arguments[0])
        record.layers.append(layer)
        return RecordedOperators(result, layer, record)

    with nn.intercept_methods(wrap):
        yield record


def layer_sites(record: Record) -> dict[Path, Sites]:
    """Returns the sites of each layer by module path, without layers that have none."""
    return dict(sorted((layer.path, layer.sites) for layer in record.layers if layer.sites))


def features_reader(record: Record) -> Call:
    """Returns the call that reads the features: the first ``input``."""
    return next(call for call in record.calls if call.operator == "input")


def table_readers(record: Record) -> dict[Path, Call]:
    """Returns the call that reads the rows of each table, by path of the table: the next ``input``.

    Raises:
      ValueError: no layer reads the rows, or the table is not a parameter.
    """
    readers: dict[Path, Call] = {}
    pending: list[Path] = []
    for call in record.calls:
        if call.operator == "lookup":
            pending.append(parameter_path(call))
        elif call.operator == "input":
            readers |= dict.fromkeys(pending, call)
            pending = []
    if pending:
        raise ValueError(f"no layer takes the rows of {'/'.join(pending[0])} as its input")
    return readers


def parameter_path(call: Call) -> Path:
    """Returns the path of the parameter passed to a call.

    Raises:
      ValueError: the argument is not a parameter of the layer, or was modified.
    """
    if call.parameter is None:
        raise ValueError(
            f"layer {'/'.join(call.layer.path)}: {call.operator} took a kernel, bias or table that "
            "is not a parameter of the layer as it is; give the operator what self.param returned, "
            "outside of any scan"
        )
    return (*call.layer.path, call.parameter)


def parameters(record: Record) -> dict[Path, Parameter]:
    """Returns the chip's format of each parameter, by its path."""
    readers = table_readers(record)
    found = {path: Parameter(call.layer.path, call.site) for path, call in readers.items()}
    for call in record.calls:
        has_bias = call.operator == "accumulate" and call.operands[2] is not None
        if call.operator == "weight" or has_bias:
            found[parameter_path(call)] = Parameter(call.layer.path, call.site)
    return found


def written_by(record: Record) -> dict[tuple[Path, str], tuple[Operator, ...]]:
    """Returns the operators whose results each site holds.

    Returns:
      Operators in order of computation, by layer and site.
    """
    # keeps the results alive, so that no other object has the same id
    accumulated: list[object] = []
    found: dict[tuple[Path, str], dict[Operator, None]] = {}
    for call in record.calls:
        if call.operator == "accumulate":
            accumulated.append(call.result)
            continue
        if call.operator in ("weight", "lookup"):
            continue
        writers = found.setdefault((call.layer.path, call.site), {})
        if any(operand is each for operand in call.operands for each in accumulated):
            writers[Operator.DOT] = None
        if call.operator in _OPERATORS:
            writers[_OPERATORS[call.operator]] = None
    return {site: tuple(writers) for site, writers in found.items()}
