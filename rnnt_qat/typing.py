"""Names of axes and array aliases, used in every signature.

Axes: ``B`` batch, ``N`` audio samples, ``T`` encoder frames (before or after time reduction, as the
docstring says), ``U`` labels, ``V`` vocabulary with the blank, ``F`` features, ``D`` model width,
``H`` hidden width (``H4``: of all four gates), ``J`` joint width. At boundaries a batch carries
``*_lengths``; inside, layers carry ``*_mask`` (True = valid), and valid frames come before invalid
ones.
"""

from typing import Any

import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

__all__ = [
    "BLANK_ID",
    "Array",
    "Bool",
    "DTypeLike",
    "Float",
    "Int",
    "Num",
    "PRNGKey",
    "PyTree",
    "Shaped",
]

PyTree = Any
PRNGKey = jax.Array

BLANK_ID = 0
"""Vocabulary index of the transducer's blank, which is also the prediction's start symbol."""
