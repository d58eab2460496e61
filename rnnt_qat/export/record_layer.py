"""Records the operators of a layer by tracing one frame with symbolic operators.

The program of a layer is traced with operators that compute nothing. The calls become a list of
integer operators (``artefact.recorded_layer``). The program between them may only move values, and
with one row and one frame these moves are identities. A new layer can therefore be exported without
further code; a new *operator* needs an entry here, in the player and in the graphs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from rnnt_qat.artefact import rescaling as fixed
from rnnt_qat.artefact.layer_integers import DenseIntegers
from rnnt_qat.artefact.recorded_layer import (
    INPUT,
    Constant,
    Node,
    NodeKind,
    RecordedLayer,
    StateTensor,
)
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.symbolic_operators import OPERATOR, RecordError, SymbolicOperators
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.quant.scan_equation import scan_sizes
from rnnt_qat.typing import Array, PyTree


class LayerIntegers(Protocol):
    """Integers and formats of a layer."""

    def format(self, site: str) -> TensorFormat:
        """Returns the format of the tensor stored at a site."""

    def dense(
        self, kernel: str, bias: str | None, input_format: TensorFormat, output_format: TensorFormat
    ) -> DenseIntegers:
        """Returns a matrix product.

        Args:
          kernel: name of the kernel.
          bias: name of the bias; None for no bias.
          input_format: format of the input.
          output_format: format of the result.
        """


def record_layer(
    module: QuantizedModule,
    kind: str,
    params: Mapping[str, Any],
    integers: LayerIntegers,
    input_format: TensorFormat,
    input_size: int,
) -> RecordedLayer:
    """Records the operators of a recurrent layer.

    Args:
      module: the layer, unbound, under a floating-point policy.
      kind: prefix of its module path.
      params: its parameters; only their shapes are used.
      integers: its integers and formats.
      input_format: actual format of its input.
      input_size: width of its input.

    Raises:
      RecordError: between its operators, the layer does more than move values.
    """
    unbound: Any = module
    state = unbound.bind({}).initial_state(1)

    def run(params: PyTree, x: Array, state: PyTree) -> PyTree:
        with nn.intercept_methods(_symbolic):
            ys, _, after = unbound.apply({"params": params}, x, jnp.ones((1, 1), bool), state)
        return ys, after

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), dict(params))
    x = jax.ShapeDtypeStruct((1, 1, input_size), jnp.float32)
    program = jax.make_jaxpr(run)(shapes, x, state)
    walk = _Walk(integers)
    parameters = [_Parameter(keys[-1].key) for keys, _ in _leaves(shapes)]
    frame = _Tensor(INPUT, input_format, input_size)
    states = [_Tensor(keys[-1].name, None, leaf.shape[-1]) for keys, leaf in _leaves(state)]
    results = walk.run(program.jaxpr, program.consts, [*parameters, frame, *states])
    return walk.layer(kind, frame, states, results)


def _leaves(tree: PyTree) -> list[tuple[Any, Any]]:
    """Returns the leaves of a tree with their key paths."""
    return jax.tree_util.tree_leaves_with_path(tree)


def _symbolic(method: Any, arguments: tuple, options: dict, context: Any) -> Any:
    if context.method_name == "operators":
        return SymbolicOperators()
    return method(*arguments, **options)


@dataclass(frozen=True)
class _Parameter:
    """A parameter of the layer."""

    name: str


@dataclass(frozen=True)
class _Tensor:
    """A stored tensor; a state that has not been loaded yet has no format."""

    name: str
    format: TensorFormat | None
    size: int


@dataclass(frozen=True)
class _Accumulated:
    """A product that has not been stored yet."""

    x: _Tensor
    kernel: str
    bias: str | None
    size: int


_MOVES = {
    *("broadcast_in_dim", "convert_element_type", "copy", "expand_dims", "reshape", "squeeze"),
    *("stop_gradient", "transpose"),
}
_KINDS = {kind.value: kind for kind in NodeKind}


class _Walk:
    """Follows tensors through a traced layer of one row and one frame."""

    def __init__(self, integers: LayerIntegers) -> None:
        self._integers = integers
        self._nodes: list[Node] = []
        self._constants: list[Constant] = []
        self._formats: dict[str, TensorFormat] = {}
        self._counts: dict[str, int] = {}

    def layer(
        self, kind: str, frame: _Tensor, states: Sequence[_Tensor], results: Sequence[Any]
    ) -> RecordedLayer:
        """Returns the recorded layer, with operators separated by whether they depend on a state.

        Args:
          kind: prefix of the layer's module path.
          frame: the input.
          states: the states before the frame.
          results: the output, followed by the states after the frame.
        """
        output, *after = (self._stored(value, "a result of the layer") for value in results)
        dependent = {state.name for state in states}
        before, steps = [], []
        for node in self._nodes:
            if dependent.intersection(node.inputs):
                dependent |= set(node.outputs)
                steps.append(node)
            else:
                before.append(node)
        held = []
        for state, new in zip(states, after, strict=True):
            tensor_format = self._format(new)
            if self._formats.get(state.name, tensor_format) != tensor_format:
                raise RecordError(f"state {state.name} is read and written in different formats")
            held.append(StateTensor(state.name, new.name, state.size, tensor_format))
        return RecordedLayer(
            cell_kind=kind,
            input=self._format(frame),
            input_size=frame.size,
            constants=tuple(self._constants),
            states=tuple(held),
            before=tuple(before),
            steps=tuple(steps),
            result=output.name,
            output=self._format(output),
            output_size=output.size,
        )

    def run(self, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """Returns the results of a jaxpr: tensors, products, parameters, or NumPy arrays.

        Args:
          jaxpr: the program.
          constants: values of its constants.
          arguments: values of its arguments.
        """
        known: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
        known |= dict(zip(jaxpr.invars, arguments, strict=True))

        def value(x: Any) -> Any:
            return x.val if isinstance(x, Literal) else known[x]

        for equation in jaxpr.eqns:
            results = self._equation(equation, [value(x) for x in equation.invars])
            known.update(zip(equation.outvars, results, strict=True))
        return [value(x) for x in jaxpr.outvars]

    def _equation(self, equation: Any, read: list[Any]) -> Sequence[Any]:
        name, options = equation.primitive.name, equation.params
        if equation.primitive is OPERATOR:
            return [self._operator(options["operator"], options["site"], options["shape"], read)]
        inner = options.get("jaxpr", options.get("call_jaxpr"))
        if name == "scan":
            return self._scan(equation, read)
        if inner is not None:
            return self._inner(inner, read)
        symbolic = [x for x in read if isinstance(x, _Tensor | _Accumulated | _Parameter)]
        if not symbolic:
            results = equation.primitive.bind(*map(jnp.asarray, read), **options)
            return results if equation.primitive.multiple_results else [results]
        if name == "select_n" and not isinstance(read[0], _Tensor):
            return [read[1 + int(np.asarray(read[0]).flat[0])]]
        if name in _MOVES and equation.outvars[0].aval.size == equation.invars[0].aval.size:
            return read[:1]
        if name == "split" and equation.params["axis"] == equation.invars[0].aval.ndim - 1:
            return self._split(read[0], [int(size) for size in options["sizes"]])
        raise RecordError(
            f"{name} of {equation.invars[0].aval.str_short()} between its operators: use the "
            "layer's operator set for what is computed"
        )

    def _scan(self, equation: Any, read: list[Any]) -> Sequence[Any]:
        """Runs one step, because leading axes of length 1 have no effect."""
        length, body = equation.params["length"], equation.params["jaxpr"]
        if length != 1:
            raise RecordError(f"a scan of {length} steps over one frame")
        first = sum(scan_sizes(equation))
        steps = [x if isinstance(x, _Tensor | _Accumulated) else x[0] for x in read[first:]]
        return self._inner(body, [*read[:first], *steps])

    def _inner(self, program: Any, read: list[Any]) -> Sequence[Any]:
        """Runs a (closed) jaxpr that an equation holds."""
        return self.run(getattr(program, "jaxpr", program), getattr(program, "consts", ()), read)

    def _operator(self, operator: str, site: str, shape: Sequence[int], read: list[Any]) -> Any:
        if operator == "weight":
            return self._parameter(read[0], site)
        if operator == "accumulate":
            x = self._stored(read[0], "an operand of a product")
            kernel = self._parameter(read[1], "a kernel")
            bias = self._parameter(read[2], "a bias").name if len(read) > 2 else None
            return _Accumulated(x, kernel.name, bias, shape[-1])
        if operator == "load":
            (x,) = read
            if isinstance(x, _Tensor) and x.format is None:
                self._formats.setdefault(x.name, self._integers.format(site))
                return _Tensor(x.name, self._formats[x.name], x.size)
            return x
        tensor_format = self._integers.format(site)
        if operator in ("store", "input"):
            x = read[0]
            if isinstance(x, _Accumulated):
                return self._dense(x, site, tensor_format)
            if not isinstance(x, _Tensor | _Parameter):
                return self._constant(np.asarray(x), site, tensor_format)
            x = self._stored(x, f"what is stored at {site!r}")
            held = self._format(x)
            kept = held == tensor_format or (
                operator == "input" and held.dtype == tensor_format.dtype
            )
            return x if kept else self._node(NodeKind.REQUANTIZE, [x], site, tensor_format, x.size)
        operands = [
            self._dense(x, f"{site}/product", tensor_format)
            if isinstance(x, _Accumulated)
            else self._stored(x, f"an operand of {operator}")
            for x in read
        ]
        size = max(operand.size for operand in operands)
        return self._node(_KINDS[operator], operands, site, tensor_format, size)

    def _dense(self, x: _Accumulated, site: str, tensor_format: TensorFormat) -> _Tensor:
        dense = self._integers.dense(x.kernel, x.bias, self._format(x.x), tensor_format)
        return self._node(NodeKind.DENSE, [x.x], site, tensor_format, x.size, dense)

    def _constant(self, x: np.ndarray, site: str, tensor_format: TensorFormat) -> _Tensor:
        """Adds a real constant, rounded as ``store`` does."""
        row = np.atleast_1d(x.astype(np.float64)).reshape(1, -1) / np.float64(tensor_format.scale)
        values = fixed.saturate(fixed.round_half_away(row), tensor_format)
        self._constants.append(Constant(self._fresh(site), values, tensor_format))
        return _Tensor(self._constants[-1].name, tensor_format, values.shape[1])

    def _split(self, x: Any, sizes: Sequence[int]) -> list[_Tensor]:
        x = self._stored(x, "what is split")
        if len(set(sizes)) > 1:
            raise RecordError(f"a split into parts of {sizes}: the runtimes split evenly")
        names = [self._fresh(f"{x.name}_part") for _ in sizes]
        self._nodes.append(Node(NodeKind.SPLIT, (x.name,), tuple(names), self._format(x)))
        return [_Tensor(name, self._format(x), sizes[0]) for name in names]

    def _node(
        self,
        kind: NodeKind,
        operands: Sequence[_Tensor],
        site: str,
        tensor_format: TensorFormat,
        size: int,
        dense: DenseIntegers | None = None,
    ) -> _Tensor:
        name = self._fresh(site)
        inputs = tuple(operand.name for operand in operands)
        self._nodes.append(Node(kind, inputs, (name,), tensor_format, dense))
        return _Tensor(name, tensor_format, size)

    def _fresh(self, name: str) -> str:
        """Returns the name with the number of its use, from 1."""
        self._counts[name] = self._counts.get(name, 0) + 1
        return f"{name}_{self._counts[name]}"

    def _format(self, x: _Tensor) -> TensorFormat:
        if x.format is None:
            raise RecordError(f"state {x.name} is read before it is loaded at a site")
        return x.format

    def _stored(self, x: Any, what: str) -> _Tensor:
        if not isinstance(x, _Tensor):
            raise RecordError(f"{what} is {type(x).__name__.strip('_').lower()}, not stored")
        return x

    def _parameter(self, x: Any, what: str) -> _Parameter:
        if not isinstance(x, _Parameter):
            raise RecordError(f"{what} is not a parameter of the layer as it is")
        return x
