"""What would be compiled for GPU and TPU, seen without either: products are int8 dots in int32."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax import export

from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.quant.policies import policy_by_name

BATCH, FRAMES, WIDTH, HIDDEN = 4, 6, 10, 8


@pytest.fixture(autouse=True)
def off_the_cpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "another")


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("name", ["w8a8", "w8a16", "generic_nna", "ethos_u_16x8_w4"])
def test_every_product_of_a_layer_in_training(name, platform):
    policy = policy_by_name(name)
    inputs = jnp.ones((BATCH, FRAMES, WIDTH)), jnp.ones((BATCH, FRAMES), bool)
    variables = jax.eval_shape(LSTM(policy.calibration(), HIDDEN).init, jax.random.key(0), *inputs)

    def forward(variables, xs, mask):
        return LSTM(policy, HIDDEN).apply(variables, xs, mask)[0].values

    lowered = export.export(jax.jit(forward), platforms=[platform])(variables, *inputs)
    found = re.findall(r"dot_general.*: \((.*)\) -> tensor<(.*)>", lowered.mlir_module())
    assert len(found) == 2  # of the inputs, of the hidden state
    for operands, result in found:
        assert re.fullmatch(r"tensor<\S+xi8>, tensor<\S+xi8>", operands)
        assert result.endswith("xi32")
