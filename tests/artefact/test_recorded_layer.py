"""A layer of recorded operators, played and written as a graph; what cannot be one is refused."""

import dataclasses

import numpy as np
import pytest

from rnnt_qat.artefact.layer_integers import DenseIntegers
from rnnt_qat.artefact.layer_player import initial_state, play_layer
from rnnt_qat.artefact.recorded_layer import (
    INPUT,
    Constant,
    Node,
    NodeKind,
    RecordedLayer,
    StateTensor,
)
from rnnt_qat.artefact.runtime_arithmetic import LITERT
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.layer_graphs import stateful_node
from rnnt_qat.export.tflite_graph import GraphBuilder
from rnnt_qat.verify.runtimes import LiteRt

WIDTH, UNITS = 3, 4
INPUTS, SUMS = TensorFormat(np.int16, 2.0**-11), TensorFormat(np.int16, 2.0**-12)


def leaky_sum(rng):
    """``memory = half * memory + W x``: a product before the scan, two operators inside."""
    weights = rng.integers(-127, 128, (UNITS, WIDTH)).astype(np.int8)
    dense = DenseIntegers(weights, None, INPUTS, SUMS, np.float32(2.0**-6))
    half = Constant("half", np.full((1, 1), 2**14, np.int16), TensorFormat(np.int16, 2.0**-15))
    return RecordedLayer(
        cell_kind="leaky_sum",
        input=INPUTS,
        input_size=WIDTH,
        constants=(half,),
        states=(StateTensor("memory", "sum", UNITS, SUMS),),
        before=(Node(NodeKind.DENSE, (INPUT,), ("product",), SUMS, dense),),
        steps=(
            Node(NodeKind.MUL, ("memory", "half"), ("kept",), SUMS),
            Node(NodeKind.ADD, ("product", "kept"), ("sum",), SUMS),
        ),
        result="sum",
        output=SUMS,
        output_size=UNITS,
    )


def graph_of(layer, frames):
    graph = GraphBuilder("layer")
    x = graph.input("x", (frames, WIDTH), INPUTS)
    memory = graph.input("memory", (1, UNITS), SUMS)
    return LiteRt(graph.finish([*stateful_node(graph, layer, "layer")(x, memory)]))


@pytest.mark.parametrize("frames", [1, 4])
def test_the_graph_equals_the_player_in_any_chunks(frames):
    rng = np.random.default_rng(0)
    layer = leaky_sum(rng)
    xs = rng.integers(-3000, 3000, (8, WIDTH)).astype(np.int16)
    whole, last = play_layer(layer, xs, initial_state(layer), LITERT)
    graph, memory = graph_of(layer, frames), initial_state(layer)["memory"][None]
    found = []
    for start in range(0, 8, frames):
        ys, memory = graph.run(xs[start : start + frames], memory)
        found.append(ys)
    np.testing.assert_array_equal(np.concatenate(found), whole)
    np.testing.assert_array_equal(memory[0], last["memory"])
    assert np.unique(whole).size > 16


def test_results_are_told_by_frame_where_they_depend_on_a_state():
    rng = np.random.default_rng(1)
    layer, told = leaky_sum(rng), {}
    xs = rng.integers(-3000, 3000, (2, WIDTH)).astype(np.int16)
    play_layer(layer, xs, initial_state(layer), LITERT, told.__setitem__)
    assert list(told) == ["product", "0/kept", "0/sum", "1/kept", "1/sum"]
    assert told["product"].shape == (2, UNITS)


def test_a_layer_that_reads_what_is_not_there_is_refused():
    layer = leaky_sum(np.random.default_rng(2))
    with pytest.raises(ValueError, match=r"RecordedLayer.before: mul reads \['memory'\]"):
        dataclasses.replace(layer, before=layer.steps, steps=())
    with pytest.raises(ValueError, match=r"no operator writes \['nothing'\]"):
        dataclasses.replace(layer, result="nothing")
    with pytest.raises(ValueError, match=r"Node\.inputs of add are"):
        Node(NodeKind.ADD, ("a",), ("b",), SUMS)
    with pytest.raises(ValueError, match=r"Node\.dense of dense"):
        Node(NodeKind.DENSE, ("a",), ("b",), SUMS)
    with pytest.raises(ValueError, match=r"Constant half is int8 \(1,\)"):
        Constant("half", np.zeros(1, np.int8), SUMS)
