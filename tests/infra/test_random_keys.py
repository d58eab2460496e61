import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.infra.random_keys import descend, random_below, random_bits

KEYS = jax.random.split(jax.random.key(3), 4)


def data(keys):
    return np.asarray(jax.random.key_data(keys))


def test_a_path_of_numbers_is_fold_in_by_fold_in():
    found = descend(KEYS[:, None], jnp.array([0, -1, 7]), 5)
    for row, key in enumerate(KEYS):
        for column, number in enumerate((0, 2**32 - 1, 7)):
            expected = jax.random.fold_in(jax.random.fold_in(key, number), 5)
            np.testing.assert_array_equal(data(found[row, column]), data(expected))


def test_a_split_is_a_last_number():
    found = descend(KEYS, jnp.arange(3)[:, None])
    np.testing.assert_array_equal(data(found).swapaxes(0, 1), data(jax.vmap(split3)(KEYS)))


def split3(key):
    return jax.random.split(key, 3)


def test_bits_are_those_of_each_key():
    expected = jax.vmap(lambda key: jax.random.bits(key, (5,)))(KEYS)
    np.testing.assert_array_equal(random_bits(KEYS, 5), expected)


def test_integers_are_those_of_randint():
    limits = jnp.array([1, 7, 1000, 0])
    found = random_below(*random_bits(descend(KEYS, jnp.arange(2)[:, None]), 50), limits[:, None])
    for row, key in enumerate(KEYS):
        expected = jax.random.randint(key, (50,), 0, limits[row])
        np.testing.assert_array_equal(found[row], expected)
