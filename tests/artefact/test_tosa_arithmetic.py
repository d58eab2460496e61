"""TOSA's operators in the player against the specification's pseudocode and its reference model."""

import dataclasses

import numpy as np
import pytest

from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.artefact.tosa_arithmetic import TOSA
from rnnt_qat.export.lstm_graphs import dense_graph
from rnnt_qat.export.tflite_graph import GraphBuilder
from rnnt_qat.verify.tosa import TosaReference
from tests.export.random_integers import random_dense, random_rnnt
from tests.fixedpoint.test_tosa import apply_scale_32

INT16 = np.dtype(np.int16)


@pytest.mark.parametrize("shift", [2, 17, 30, 31, 32, 45, 61])
def test_rescale_equals_the_pseudocode(shift):
    rng = np.random.default_rng(shift)
    x = np.r_[rng.integers(-(2**31), 2**31, 500), -(2**31), 2**31 - 1, np.arange(-9, 10)]
    for multiplier in (2**30, 2**31 - 1, *rng.integers(2**30, 2**31, 5).tolist()):
        expected = apply_scale_32(x, multiplier, shift)
        np.testing.assert_array_equal(TOSA.rescale(x, multiplier * 2.0**-shift), expected)


@pytest.mark.slow
def test_operators_of_unequal_formats_equal_the_reference_model():
    """Sums, products and conversions at powers of two and at other scales."""
    rng = np.random.default_rng(0)
    formats = [TensorFormat(INT16, s) for s in (2.0**-12, 2.0**-9, 0.0007, 2.0**-14, 0.011)]
    graph = GraphBuilder("operators")
    inputs = [
        graph.input(f"x{n}", (1, 4096), tensor_format) for n, tensor_format in enumerate(formats)
    ]
    x = rng.integers(-(2**15), 2**15, (len(formats), 1, 4096)).astype(INT16)
    x[:, :, :4] = [-(2**15), 2**15 - 1, 0, -1]
    outputs, ours = [], []
    for a, b, out in ((0, 1, 1), (0, 3, 0), (2, 1, 4), (4, 2, 2), (3, 3, 0)):
        trio = formats[a], formats[b], formats[out]
        name = f"{len(outputs)}"
        outputs.append(graph.add(inputs[a], inputs[b], formats[out], f"sum_{name}"))
        ours.append(TOSA.add(x[a], x[b], trio))
        outputs.append(graph.mul(inputs[a], inputs[b], formats[out], f"product_{name}"))
        ours.append(TOSA.mul(x[a], x[b], trio))
        if a != out:
            outputs.append(graph.quantize(inputs[a], formats[out], f"converted_{name}"))
            ours.append(TOSA.requantize(x[a], formats[a], formats[out]))
    theirs = TosaReference(graph.finish(outputs)).run(*x)
    for node, mine, other in zip(outputs, ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other, err_msg=node.name)


@pytest.mark.slow
@pytest.mark.parametrize("per_output", [False, True])
def test_dense_layers_equal_the_reference_model(per_output):
    rng = np.random.default_rng(1)
    input_format, output_format = TensorFormat(INT16, 2.0**-11), TensorFormat(INT16, 2.0**-12)
    layer = random_dense(rng, 48, 40, input_format, output_format, gain=2.0, per_output=per_output)
    x = rng.integers(-(2**15), 2**15, (512, 48)).astype(INT16)
    (theirs,) = TosaReference(dense_graph(layer, len(x))).run(x)
    ours = TOSA.dense(x, layer.weights, layer.bias, layer.formats)
    np.testing.assert_array_equal(ours, theirs)
    assert 0 < np.mean(np.abs(ours.astype(int)) == 2**15 - 1) < 0.5


def test_a_fused_layer_is_refused():
    fused = random_rnnt(np.random.default_rng(0), wide=False)
    with pytest.raises(ValueError, match=r"encoder/lstm_0 is LiteRT's fused int8 LSTM, which Tosa"):
        dataclasses.replace(fused, arithmetic=TOSA)


def test_biases_may_fill_48_bits():
    """Runtimes of 40-bit accumulators wrap on this one, TOSA does not."""
    model = random_rnnt(np.random.default_rng(0), wide=True)
    output = dataclasses.replace(
        model.joint.output,
        bias=np.full_like(model.joint.output.bias, 2**39),
        output=TensorFormat(INT16, model.joint.output.output.scale * 2.0**16),
    )
    joint = dataclasses.replace(model.joint, output=output)
    with pytest.raises(ValueError, match="in an accumulator of 40 bits"):
        dataclasses.replace(model, joint=joint)
    dataclasses.replace(model, joint=joint, arithmetic=TOSA)
