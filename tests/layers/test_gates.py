import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.layers.gates import cut_gates


def test_gates_and_their_gradients_are_parts_of_the_whole():
    pre = jnp.arange(24.0).reshape(2, 12)
    gates, vjp = jax.vjp(cut_gates, pre)
    assert [gate.shape for gate in gates] == [(2, 3)] * 4
    np.testing.assert_array_equal(jnp.concatenate(gates, axis=-1), pre)
    np.testing.assert_array_equal(vjp(tuple(2 * gate for gate in gates))[0], 2 * pre)
