"""A record of what layers ask their operators for, in order.

Freezing, the table of formats and export read a model from such a record, so that none of them
knows the network's topology: a layer that computes with its operator set alone is frozen, listed
and exported as it is.
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
    """A layer of which calls are recorded.

    Attributes:
      path: module path.
      module: the module itself, while it runs.
      sites: what its operators were asked for.
    """

    path: Path
    module: QuantizedModule
    sites: Sites

    def parameter_name(self, value: Any) -> str | None:
        """Name of the layer's parameter that a value is; None if it is none, or was changed."""
        parameters = self.module.variables.get("params", {})
        return next((name for name, leaf in parameters.items() if leaf is value), None)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an operator.

    Operands and results of calls inside a scan are that scan's own tracers: only their order and
    identity mean anything afterwards.

    Attributes:
      layer: whose operator it was.
      operator: method of the operator set.
      site: site that was read from memory or written; empty for ``accumulate`` and ``lookup``.
      operands: what went in, in the order of the method's arguments.
      result: what came out.
      operators: the layer's operator set.
      parameter: name of the layer's parameter that went in as kernel, bias or table; None if none
        did, or if the layer changed it on the way.
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
    """Layers in the order in which they asked for operators, and all of their calls in order."""

    layers: list[Layer] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


@dataclass(frozen=True)
class Parameter:
    """What holds a parameter on the chip.

    Attributes:
      layer: layer whose precision it is under.
      site: site whose format it has; empty for a bias, which has the accumulator's.
    """

    layer: Path
    site: str


@flax.struct.dataclass
class RecordedOperators:
    """An ``OperatorSet`` that computes as ``plain`` and notes every call.

    Attributes:
      plain: the layer's operators.
      layer: whose they are.
      record: takes the calls.
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
        """Noted with the kernel's name."""
        name = self.layer.parameter_name(w)
        return self._noted("weight", site, (w, x, bias), self.plain.weight(site, w, x, bias), name)

    def lookup(self, table: Num[Array, "V E"], rows: Int[Array, "*S"]) -> Value:
        """Noted with the table's name."""
        name = self.layer.parameter_name(table)
        return self._noted("lookup", "", (table, rows), self.plain.lookup(table, rows), name)

    def store(self, site: str, x: Value) -> Value:
        """Noted."""
        return self._noted("store", site, (x,), self.plain.store(site, x))

    def input(self, site: str, x: Value) -> Value:
        """Noted."""
        return self._noted("input", site, (x,), self.plain.input(site, x))

    def values(self, x: Value) -> Num[Array, "*S"]:
        """Not noted: nothing is computed."""
        return self.plain.values(x)

    def load(self, site: str, values: Num[Array, "*S"]) -> Value:
        """Not noted: nothing is computed."""
        return self.plain.load(site, values)

    def accumulate(self, x: Value, w: Value, bias: Num[Array, "M"] | None = None) -> Value:
        """Noted with the bias' name."""
        name = None if bias is None else self.layer.parameter_name(bias)
        result = self.plain.accumulate(x, w, bias)
        return self._noted("accumulate", "", (x, w, bias), result, name)

    def add(self, a: Value, b: Value, out: str) -> Value:
        """Noted."""
        return self._noted("add", out, (a, b), self.plain.add(a, b, out))

    def align(self, site: str, values: Num[Array, "*S"], addends: Addends, out: str) -> PyTree:
        """Not noted: a share of ``add`` that training computes apart."""
        return self.plain.align(site, values, addends, out)

    def add_aligned(self, a: PyTree, b: PyTree, addends: Addends, out: str) -> Value:
        """Noted as ``add``."""
        return self._noted("add", out, (a, b), self.plain.add_aligned(a, b, addends, out))

    def mul(self, a: Value, b: Value, out: str) -> Value:
        """Noted."""
        return self._noted("mul", out, (a, b), self.plain.mul(a, b, out))

    def sigmoid(self, x: Value, out: str) -> Value:
        """Noted."""
        return self._noted("sigmoid", out, (x,), self.plain.sigmoid(x, out))

    def tanh(self, x: Value, out: str) -> Value:
        """Noted."""
        return self._noted("tanh", out, (x,), self.plain.tanh(x, out))

    def layer_norm(self, x: Value, out: str) -> Value:
        """Noted."""
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
    """Records every layer that asks for its operators while the context is open."""
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
    """Sites of each layer, by module path; layers without any are left out."""
    return dict(sorted((layer.path, layer.sites) for layer in record.layers if layer.sites))


def features_reader(record: Record) -> Call:
    """The call that takes the features: the first ``input``."""
    return next(call for call in record.calls if call.operator == "input")


def table_readers(record: Record) -> dict[Path, Call]:
    """The call that takes a table's rows, by the path of the table: the next ``input``.

    Raises:
      ValueError: no layer takes them, or the table is no parameter.
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
    """Path of the parameter that went into a call.

    Raises:
      ValueError: it is no parameter of the layer, or not as it is.
    """
    if call.parameter is None:
        raise ValueError(
            f"layer {'/'.join(call.layer.path)}: {call.operator} took a kernel, bias or table that "
            "is not a parameter of the layer as it is; give the operator what self.param returned, "
            "outside of any scan"
        )
    return (*call.layer.path, call.parameter)


def parameters(record: Record) -> dict[Path, Parameter]:
    """What holds each parameter, by its path."""
    readers = table_readers(record)
    found = {path: Parameter(call.layer.path, call.site) for path, call in readers.items()}
    for call in record.calls:
        has_bias = call.operator == "accumulate" and call.operands[2] is not None
        if call.operator == "weight" or has_bias:
            found[parameter_path(call)] = Parameter(call.layer.path, call.site)
    return found


def written_by(record: Record) -> dict[tuple[Path, str], tuple[Operator, ...]]:
    """Operators whose results each site holds, by layer and site, in order of computation."""
    accumulated: list[object] = []  # kept, so that no other object gets an identity of theirs
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
