"""What the drill of integers draws its graphs from: scales, weights, biases and inputs."""

from collections.abc import Callable

import numpy as np

Rng = np.random.Generator


class RefusedError(Exception):
    """A draw that the artefact refuses by name."""


def require_legal(check: Callable[..., None], *args: object) -> None:
    try:
        check(*args)
    except ValueError as error:
        raise RefusedError(str(error)) from error


def power(rng: Rng, low: int, high: int) -> float:
    return 2.0 ** int(rng.integers(low, high + 1))


def scale_of_bits(rng: Rng, low: int, high: int, bits: int = 24) -> float:
    """A scale with so many significant bits."""
    fraction = rng.integers(2 ** (bits - 1), 2**bits) if rng.random() < 0.8 else 2 ** (bits - 1)
    return float(np.float32(np.ldexp(float(fraction), int(rng.integers(low, high + 1)) - bits + 1)))


def integers_of(rng: Rng, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Of every size, with the ends of the range among them."""
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max + 1, shape)
    if rng.random() < 0.5:
        values >>= rng.integers(0, info.bits, shape)
    ends = rng.random(shape) < 0.1
    return np.where(ends, rng.choice([info.min, info.max, 0, 1, -1], shape), values).astype(dtype)


def weights_of(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    reach = rng.choice([0, 1, 7, 127], p=[0.05, 0.2, 0.25, 0.5])
    return rng.integers(-reach, reach + 1, shape).astype(np.int8)


def bias_of(rng: Rng, shape: tuple[int, ...], bits: int) -> np.ndarray:
    largest = 2 ** (bits - 1) - 1
    values = rng.integers(-largest, largest + 1, shape) >> rng.integers(0, bits, shape)
    return values.astype(np.int32 if bits == 32 else np.int64)
