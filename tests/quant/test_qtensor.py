import jax
import jax.numpy as jnp

from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.quant.qtensor import QTensor, dequantize, map_values


def test_real_values_of_every_way_to_hold_integers():
    assert dequantize(jnp.float32(0.3)) == jnp.float32(0.3)
    assert dequantize(QTensor(jnp.asarray([3, -4], jnp.int8), 0.5)).tolist() == [1.5, -2.0]
    total = 5 * 2**16 + 77
    training = QTensor(jnp.float32(5 * 2**16), jnp.float32(2.0), jnp.float32(77))
    serving = QTensor(jnp.int32(5), jnp.float32(2.0), jnp.int32(77))
    assert dequantize(training) == dequantize(serving) == 2.0 * total


def test_map_values_moves_all_words_and_keeps_the_format():
    q = QTensor(jnp.arange(6.0), 0.5, low=jnp.arange(6.0) + 10, format=QFormat(8, 1))
    moved = map_values(lambda v: v.reshape(2, 3), q)
    assert moved.values.shape == moved.low.shape == (2, 3)
    assert (moved.scale, moved.format) == (0.5, QFormat(8, 1))
    assert map_values(lambda v: v + 1, jnp.float32(1.0)) == 2.0


def test_the_format_is_static():
    q = QTensor(jnp.zeros(3), 0.5, format=QFormat(8, 1))
    assert len(jax.tree.leaves(q)) == 2
    assert jax.jit(lambda q: q)(q).format == QFormat(8, 1)
