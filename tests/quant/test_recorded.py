import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from rnnt_qat.accelerators.spec import Operator
from rnnt_qat.layers.dense import Dense
from rnnt_qat.layers.embedding import Embedding
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.quant.recorded import (
    Parameter,
    layer_sites,
    parameters,
    recorded,
    table_readers,
    written_by,
)
from rnnt_qat.quant.sites import Role

SITES = {"input": Role.INPUT, "kernel": Role.WEIGHT, "hidden": Role.PROJECTION}


class Stored(QuantizedModule):
    """A product that is stored; with a bias that it may change before the operator takes it."""

    doubled: bool = False

    @nn.compact
    def __call__(self, x):
        ops = self.operators(SITES)
        kernel = self.param("kernel", nn.initializers.ones, (2, 3))
        bias = self.param("offset", nn.initializers.ones, (3,))
        bias = 2 * bias if self.doubled else bias
        return ops.store(
            "hidden", ops.accumulate(ops.input("input", x), ops.weight("kernel", kernel), bias)
        )


class Chain(nn.Module):
    """A table, a layer that reads it, and what comes after."""

    doubled: bool = False
    is_read: bool = True

    @nn.compact
    def __call__(self, labels):
        x = Embedding(FLOAT32, 5, 2, name="table")(labels)
        if not self.is_read:
            return x
        return Dense(FLOAT32, 2, name="out")(Stored(FLOAT32, self.doubled, name="first")(x))


def record_of(module):
    with recorded() as record:
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    return record


def test_layers_and_calls_come_in_order_with_the_parameters_that_they_take():
    record = record_of(Chain())
    assert [layer.path for layer in record.layers] == [("table",), ("first",), ("out",)]
    calls = [(c.layer.path[0], c.operator, c.site, c.parameter) for c in record.calls]
    assert calls[:5] == [
        ("table", "lookup", "", "embedding"),
        ("first", "input", "input", None),
        ("first", "weight", "kernel", "kernel"),
        ("first", "accumulate", "", "offset"),
        ("first", "store", "hidden", None),
    ]
    assert set(layer_sites(record)) == {("first",), ("out",)}
    assert written_by(record)[("first",), "hidden"] == (Operator.DOT,)
    found = parameters(record)
    assert found["table", "embedding"] == Parameter(("first",), "input")
    assert found["first", "offset"] == Parameter(("first",), "")
    assert found["out", "kernel"] == Parameter(("out",), "kernel")


def test_a_parameter_that_is_changed_on_the_way_is_refused_naming_the_layer():
    with pytest.raises(ValueError, match="layer first: accumulate took a kernel, bias or table"):
        parameters(record_of(Chain(doubled=True)))


def test_a_table_that_nothing_reads_is_named():
    with pytest.raises(ValueError, match="no layer takes the rows of table/embedding"):
        table_readers(record_of(Chain(is_read=False)))
