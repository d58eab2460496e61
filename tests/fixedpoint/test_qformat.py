import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint.qformat import QFormat, dequantize, quantize
from rnnt_qat.fixedpoint.rounding import Rounding


def test_names_and_ranges():
    q = QFormat(16, 12)
    assert (str(q), q.integer_bits, q.minimum, q.maximum) == ("Q3.12", 3, -32768, 32767)
    assert str(QFormat(8)) == "int8"
    assert QFormat(8, narrow=True).minimum == -127
    assert [QFormat(b).storage.name for b in (4, 8, 12, 16, 24)] == [
        "int8", "int8", "int16", "int16", "int32",
    ]  # fmt: skip


@pytest.mark.parametrize("bits", [1, 33])
def test_impossible_widths_are_refused(bits):
    with pytest.raises(ValueError, match=f"QFormat.bits={bits}"):
        QFormat(bits)


def test_quantize_rounds_saturates_and_survives_what_is_not_a_number():
    to_int8 = jax.jit(lambda x: quantize(x, 1.0, QFormat(8)))
    x = jnp.asarray([0.5, -0.5, 1.5, 200.0, -200.0, np.inf, -np.inf, np.nan, 3e38])
    assert to_int8(x).tolist() == [1, -1, 2, 127, -128, 127, -128, 0, 127]
    assert quantize(x[:3], 1.0, QFormat(8), Rounding.EVEN).tolist() == [0, 0, 2]
    assert quantize(x[3:5], 1.0, QFormat(8, narrow=True)).tolist() == [127, -127]


def test_every_integer_of_a_format_survives_the_round_trip():
    integers = jnp.arange(-(2**15), 2**15, dtype=jnp.int32)
    for scale in (2.0**-12, 0.000173):
        reals = dequantize(integers, scale)
        np.testing.assert_array_equal(quantize(reals, scale, QFormat(16)), integers)
