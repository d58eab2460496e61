"""Random bit errors in the weight memory of a frozen recognizer."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact.integers import RnntIntegers

_WEIGHTS = frozenset({"w_ih", "w_hh", "weights", "embedding"})
"""Fields of a recognizer's layers that lie in the weight memory; biases do not."""


def flip_bits(integers: RnntIntegers, rate: float, seed: int) -> RnntIntegers:
    """Returns the recognizer after each bit of its 8-bit weights flipped with a probability.

    A flipped sign bit of a zero reads as -128, which no kernel of these chips holds; it is read as
    -127, as by a memory whose decoder saturates.

    Args:
      integers: the integers of an artefact.
      rate: probability of each bit.
      seed: of the random draws; the same seed flips the same bits.

    Raises:
      ValueError: the rate is no probability.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"a rate of bit errors of {rate} is no probability in [0, 1]")
    return _damaged(integers, rate, np.random.default_rng(seed))


def _damaged(node: Any, rate: float, rng: np.random.Generator) -> Any:
    if isinstance(node, tuple):
        return tuple(_damaged(item, rate, rng) for item in node)
    if not dataclasses.is_dataclass(node):
        return node
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if not isinstance(value, np.ndarray):
            changes[field.name] = _damaged(value, rate, rng)
        elif field.name in _WEIGHTS and value.dtype == np.int8:
            changes[field.name] = flipped(value, rate, rng)
    return dataclasses.replace(node, **changes)  # type: ignore[type-var]


def flipped(
    weights: Integer[np.ndarray, "*S"], rate: float, rng: np.random.Generator
) -> Integer[np.ndarray, "*S"]:
    """Returns int8 weights of which random bits are flipped; -128 becomes -127.

    Args:
      weights: int8 weights.
      rate: probability of each bit.
      rng: source of the draws.
    """
    bits = np.unpackbits(weights.reshape(-1).view(np.uint8))
    bits ^= rng.random(bits.size, np.float32) < rate
    return np.maximum(np.packbits(bits).view(np.int8), -127).reshape(weights.shape)
