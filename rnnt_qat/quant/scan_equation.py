"""How the arguments of a traced ``lax.scan`` divide into constants, carry and steps."""

from typing import Any


def scan_sizes(equation: Any) -> tuple[int, int]:
    """Counts the constants and the carried values of a scan; the other arguments are its steps.

    The sizes come from shapes and not from the equation's parameters, whose names changed between
    versions of JAX: a step lacks the leading axis of the array it is taken from.

    Args:
      equation: an equation of a jaxpr whose primitive is ``scan``.

    Returns:
      Numbers of constants and of carried values.
    """
    body = equation.params["jaxpr"]
    body = getattr(body, "jaxpr", body)
    steps = _with_leading_axis(equation.invars, body.invars)
    carried = len(equation.outvars) - _with_leading_axis(equation.outvars, body.outvars)
    return len(equation.invars) - carried - steps, carried


def _with_leading_axis(outer: Any, inner: Any) -> int:
    pairs = zip(outer, inner, strict=True)
    return sum(len(whole.aval.shape) > len(step.aval.shape) for whole, step in pairs)
