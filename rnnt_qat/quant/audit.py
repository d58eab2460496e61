"""The audit: finds the operators of a traced program that a chip does not compute.

It walks the program equation by equation, through scans and calls, and follows what depends on the
data. Scales, biases and kernels are constants of the chip, so operations on these alone do not
count. The name scopes of an equation determine its layer and operator.
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax.extend.core import Literal, jaxprs_in_params

from rnnt_qat.accelerators.spec import Operator
from rnnt_qat.infra.errors import UserError
from rnnt_qat.quant.nna_operators import QUANTIZE, REQUANTIZE
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.scan_equation import scan_sizes


class Kind(enum.IntEnum):
    """What a value depends on; a combination has the highest kind of its operands."""

    CONSTANT = 0
    """Parameters and ranges."""
    INDEX = 1
    """Labels, masks and lengths: bookkeeping, if computed in integers."""
    DATA = 2
    """Features, states and everything computed from them."""


@dataclass(frozen=True, order=True)
class OffChip:
    """An operator that the chip does not compute.

    Attributes:
      layer: module path.
      operator: scope of the operator; empty outside all operators.
      primitive: JAX's name of the primitive.
      dtype: of the result or, if only operands are real, of an operand.
      on_cpu: whether the policy leaves the operator to the CPU; it is then listed but permitted.
    """

    layer: str
    operator: str
    primitive: str
    dtype: str
    on_cpu: bool

    def __str__(self) -> str:
        """Returns a description in one line."""
        within = f" in {self.operator}" if self.operator else ""
        return f"{self.layer}: {self.dtype} {self.primitive}{within}"


class AuditError(UserError, ValueError):
    """A program computes on the CPU what its policy assigns to the chip; names each operator."""


# Primitives that move values, compare indices, or change the width of an integer.
_MOVES = {
    *("broadcast_in_dim", "concatenate", "convert_element_type", "copy", "dynamic_slice"),
    *("dynamic_update_slice", "expand_dims", "iota", "pad", "reshape", "rev", "select_n"),
    *("slice", "split", "squeeze", "stop_gradient", "transpose"),
}
_OPERATOR_OF = {"argmax": Operator.ARGMAX, "gather": Operator.LOOKUP, "dot_general": Operator.DOT}
"""Operators that are a single primitive, recognized without a scope."""
_SCOPES = {operator.value for operator in Operator} | {QUANTIZE, REQUANTIZE}


def off_chip_operators(
    program: Any, kinds: Sequence[Kind], policy: PrecisionPolicy
) -> tuple[OffChip, ...]:
    """Returns the operators of a program that its chip does not compute.

    Args:
      program: a closed jaxpr (``jax.make_jaxpr``).
      kinds: kinds of its flattened arguments.
      policy: states what each layer may leave to the CPU.

    Returns:
      Each operator once, sorted by layer.
    """
    walk = _Walk(policy)
    walk.through(program, kinds, ())
    return tuple(sorted(walk.found))


def require_on_chip(found: Iterable[OffChip]) -> None:
    """Raises AuditError if a layer computes off the chip what its policy assigns to it."""
    offences = [str(operator) for operator in found if not operator.on_cpu]
    if offences:
        raise AuditError(
            "not in the chip's operators:\n  " + "\n  ".join(offences) + "\nuse the layer's "
            "operator set for them, or give the layer a precision that leaves them to the CPU"
        )


class _Walk:
    """One pass over a program; ``found`` collects the operators."""

    def __init__(self, policy: PrecisionPolicy) -> None:
        self._policy = policy
        self._mixed = not all(isinstance(r.precision, OnAccelerator) for r in policy.rules)
        self.found: set[OffChip] = set()

    def through(self, program: Any, kinds: Sequence[Kind], scope: tuple[str, ...]) -> list[Kind]:
        """Returns the kinds of the results of a (closed) jaxpr.

        Args:
          program: the jaxpr.
          kinds: kinds of its arguments.
          scope: name scopes around it.
        """
        jaxpr = getattr(program, "jaxpr", program)
        known = dict(zip(jaxpr.invars, kinds, strict=True))

        def kind(x: Any) -> Kind:
            return Kind.CONSTANT if isinstance(x, Literal) else known.get(x, Kind.CONSTANT)

        for equation in jaxpr.eqns:
            read = [kind(x) for x in equation.invars]
            inner = (*scope, *str(equation.source_info.name_stack).split("/"))
            results = self._equation(equation, read, inner)
            known.update(zip(equation.outvars, results, strict=True))
        return [kind(x) for x in jaxpr.outvars]

    def _equation(self, equation: Any, read: list[Kind], scope: tuple[str, ...]) -> list[Kind]:
        most = max(read, default=Kind.CONSTANT)
        results = [most] * len(equation.outvars)
        if most == Kind.CONSTANT:
            return results
        name, parts = equation.primitive.name, equation.params
        programs = list(jaxprs_in_params(parts))
        if name == "scan":
            return self._scan(equation, read, scope)
        if not programs:
            if name == "gather" and read[0] == Kind.CONSTANT:
                results = [Kind.DATA]
            self._judge(equation, read, results[0], scope)
            return results
        if len(programs) == 1 and len(programs[0].invars) == len(read):
            return self.through(programs[0], read, scope)
        for program in programs:  # branches and loops: any result may depend on any argument
            self.through(program, [most] * len(program.invars), scope)
        return results

    def _scan(self, equation: Any, read: list[Kind], scope: tuple[str, ...]) -> list[Kind]:
        first, carried = scan_sizes(equation)
        while True:  # repeats until the kinds of the carry are stable
            results = self.through(equation.params["jaxpr"], read, scope)
            before = read[first : first + carried]
            after = [max(pair) for pair in zip(before, results[:carried], strict=True)]
            if after == before:
                return results
            read = [*read[:first], *after, *read[first + carried :]]

    def _judge(self, equation: Any, read: list[Kind], result: Kind, scope: tuple[str, ...]) -> None:
        name = equation.primitive.name
        written = [v.aval.dtype for v in equation.outvars]
        dtypes = written + [
            v.aval.dtype for v, kind in zip(equation.invars, read, strict=True) if kind
        ]
        integer = all(jnp.issubdtype(d, jnp.integer) or d == jnp.bool_ for d in dtypes)
        layer = _layer(scope)
        operator = next((part for part in reversed(scope) if part in _SCOPES), "")
        precision = self._policy.resolve(layer)
        chip = precision.on_chip()
        told = _OPERATOR_OF.get(name)
        within = operator in {QUANTIZE, REQUANTIZE} or (operator and Operator(operator) in chip)
        moves = name in _MOVES or all(d == jnp.bool_ for d in written)
        # At a boundary between layers on the CPU and on the chip, the CPU quantizes.
        handed_over = self._mixed and operator == QUANTIZE
        on_chip = isinstance(precision, OnAccelerator)
        if not on_chip and (within or moves):
            return
        if integer and (within or moves or result == Kind.INDEX or told in chip):
            return
        dtype = str(next((d for d in dtypes if jnp.issubdtype(d, jnp.floating)), written[0]))
        on_cpu = handed_over or not on_chip
        self.found.add(OffChip("/".join(layer), operator, name, dtype, on_cpu))


def _layer(scope: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the module path of a scope.

    Scopes of methods are written ``module.method``, that of the root module as its class.
    """
    names = [part.partition(".")[0] for part in scope if part and part not in _SCOPES]
    path: list[str] = []
    for name in names:
        if name.islower() and (not path or name != path[-1]):
            path.append(name)
    return tuple(path)
