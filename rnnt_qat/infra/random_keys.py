"""Random keys of many draws in one computation.

``jax.random.fold_in``, ``split`` and ``bits`` are all one hash of a key and a number. XLA compiles
each call for the CPU as a loop of several kernels, and a training step draws a key or a few numbers
in dozens of places: that was a third of its compile time. Here every element of an array of keys
goes down its own path of numbers, and all of them are hashed together. The keys are those that
``jax.random`` derives one by one, to the bit.
"""

import jax
import jax.numpy as jnp

from rnnt_qat.typing import Array, Int, PRNGKey


def descend(keys: PRNGKey, *numbers: Int[Array, "*S"] | int) -> PRNGKey:
    """Folds numbers into keys, one after the other.

    ``descend(key, a, b)`` is ``fold_in(fold_in(key, a), b)``, and with ``jnp.arange(n)`` as the
    last number ``jax.random.split(..., n)``.

    Args:
      keys: an array of keys.
      numbers: integers whose shapes broadcast with the shape of ``keys``.

    Returns:
      Keys of the broadcast shape.
    """
    shape = jnp.broadcast_shapes(keys.shape, *map(jnp.shape, numbers))
    paths = [jnp.broadcast_to(jnp.asarray(n).astype(jnp.uint32), shape) for n in numbers]

    def level(keys: PRNGKey, number: Array) -> tuple[PRNGKey, None]:
        return jax.vmap(jax.random.fold_in)(keys, number), None

    flat = jnp.broadcast_to(keys, shape).reshape(-1)
    return jax.lax.scan(level, flat, jnp.stack(paths).reshape(len(paths), -1))[0].reshape(shape)


def random_bits(keys: PRNGKey, count: int) -> Array:
    """Returns the ``count`` words of ``jax.random.bits`` of each of a few keys.

    Args:
      keys: keys ``[*S]``.
      count: number of words of each.

    Returns:
      uint32 ``[*S, count]``.
    """
    words = jax.random.key_data(descend(keys[..., None], jnp.arange(count)))
    return words[..., 0] ^ words[..., 1]


def random_below(high: Array, low: Array, limit: Int[Array, "*S"]) -> Int[Array, "*S"]:
    """Maps random bits to integers in ``[0, limit)`` as ``jax.random.randint`` does.

    Args:
      high: uint32 bits of the first of the two keys that ``randint`` splits its key into.
      low: uint32 bits of the second.
      limit: int32; below 1 it counts as 1.
    """
    span = jnp.maximum(limit, 1).astype(jnp.uint32)
    multiplier = jnp.uint32(2**16) % span
    multiplier = multiplier * multiplier % span
    return ((high % span * multiplier + low % span) % span).astype(jnp.int32)
