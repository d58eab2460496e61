"""Recognizers that runtimes would wrap or abort on are refused by name; all others agree."""

from dataclasses import replace

import numpy as np
import pytest

from rnnt_qat.artefact import limits
from rnnt_qat.artefact.layer_integers import DenseIntegers
from rnnt_qat.artefact.runtime_arithmetic import TFLM
from rnnt_qat.artefact.tensor_format import TensorFormat
from tests.export.random_integers import random_rnnt

INT8, INT16 = np.dtype(np.int8), np.dtype(np.int16)


def with_bias(layer, value):
    return replace(layer, bias=np.full_like(layer.bias, value))


@pytest.mark.parametrize(
    ("wide", "change", "message"),
    [
        (
            False,
            lambda m: {"joint": replace(m.joint, output=with_bias(m.joint.output, 2**31 - 1))},
            r"joint/output: output \d+ sums up to 2.15e\+09 in an accumulator of 32 bits",
        ),
        (
            True,
            lambda m: {"joint": replace(m.joint, output=with_bias(m.joint.output, 2**39))},
            r"joint/output: output \d+ sums up to 5.5e\+11 in an accumulator of 40 bits",
        ),
        (
            False,
            lambda m: {
                "encoder": replace(
                    m.encoder, layers=(with_bias(m.encoder.layers[0], 2**31 - 9),) * 1
                    + m.encoder.layers[1:]
                )
            },
            r"encoder/lstm_0/input_kernel \(gate i\): output \d+ sums up to",
        ),
        (
            True,
            lambda m: {"joint": replace(m.joint, sum=TensorFormat(np.int16, 2.0**-30))},
            r"the joint's sum \(joint/hidden_pre\) has steps of 9.31e-10, more than 2\^13 times",
        ),
        (
            False,
            lambda m: {
                "encoder": replace(
                    m.encoder,
                    projection=replace(
                        m.encoder.projection, output=TensorFormat(np.int8, 2.0**-40)
                    ),
                )
            },
            r"encoder/projection: results reach .* runtimes wrap from 2\^30 on",
        ),
    ],
)  # fmt: skip
def test_what_runtimes_wrap_is_refused_by_name(wide, change, message):
    model = random_rnnt(np.random.default_rng(0), wide)
    with pytest.raises(ValueError, match=message):
        replace(model, **change(model))


def test_sums_of_too_many_inputs_are_refused():
    weights = np.full((1, 140_000), 127, np.int8)
    formats = TensorFormat(np.int8, 0.1), TensorFormat(np.int8, 1e-4), TensorFormat(np.int8, 0.5)
    limits.check_product("layer", weights[:, :130_000], None, formats, 40)
    with pytest.raises(ValueError, match=r"layer: output 0 sums up to 2.28e\+09"):
        limits.check_product("layer", weights, None, formats, 40)


def test_a_ratio_that_no_16_bit_multiplier_has_is_refused_and_not_a_negative_shift():
    formats = TensorFormat(np.int16, 2.0**-6), TensorFormat(np.int16, 2.0**-34)
    layer = DenseIntegers(
        np.zeros((2, 3), np.int8), np.zeros(2, np.int64), *formats, np.float32(2.0**6)
    )
    with pytest.raises(ValueError, match="layer: results reach"):
        layer.check_limits("layer", 40)
    x = np.zeros((1, 3), np.int16)
    with pytest.raises(ValueError, match=r"ratios below 2\^14"):
        TFLM.dense(x, layer.weights, layer.bias, layer.formats)


@pytest.mark.parametrize(("dtype", "shift"), [(INT8, 20), (INT16, 15)])
def test_a_sum_far_finer_than_its_addends_is_refused(dtype, shift):
    addend = TensorFormat(dtype, 2.0**-6)
    limits.check_add("sum", (addend, addend, TensorFormat(dtype, 2.0 ** (-4 - shift))))
    with pytest.raises(ValueError, match="sum has steps of"):
        limits.check_add("sum", (addend, addend, TensorFormat(dtype, 2.0 ** (-5 - shift))))
