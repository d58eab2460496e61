"""A layer that only this file knows: frozen, served, audited, played and exported as it is."""

import dataclasses

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.artefact.player import quantize_features
from rnnt_qat.export.freeze import freeze as export_freeze
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.qtensor import map_values
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.quant.sites import Role
from rnnt_qat.serving.audit import audit
from rnnt_qat.serving.formats import tensor_rows
from rnnt_qat.serving.freeze import freeze
from rnnt_qat.verify.replay import first_difference
from rnnt_qat.verify.verification import UtteranceFeatures, verify
from tests.integration.test_recurrent_kinds import FEATURES, FRAMES, calibrated, results

SITES = {
    "input": Role.INPUT,
    "kernel": Role.WEIGHT,
    "gate_input": Role.GATE_PRE,
    "gate": Role.GATE,
    "memory": Role.CELL,
    "squashed": Role.GATE,
    "hidden": Role.HIDDEN,
}


@flax.struct.dataclass
class State:
    memory: jax.Array


class Forgetful(QuantizedModule):
    """``c = f c + (1 - f) u`` without the ``1 - f``: gates of the input alone, one product."""

    features: int

    def initial_state(self, batch_size):
        return State(jnp.zeros((batch_size, self.features), self.state_dtype(Role.CELL)))

    @nn.compact
    def __call__(self, xs, mask, state=None):
        ops = self.operators(SITES)
        state = self.initial_state(mask.shape[0]) if state is None else state
        xs = map_values(lambda v: jnp.where(mask[..., None], v, 0).swapaxes(0, 1), xs)
        xs = ops.input("input", xs)
        shape = ops.values(xs).shape[-1], 3 * self.features
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        shift = self.param("shift", nn.initializers.ones, shape[1:])
        product = ops.accumulate(xs, ops.weight("kernel", kernel), shift)
        gates = ops.values(ops.store("gate_input", product))

        def step(state, x):
            pre, valid = x
            f, u, o = (ops.load("gate_input", part) for part in jnp.split(pre, 3, axis=-1))
            memory = ops.load("memory", state.memory)
            kept = ops.mul(ops.sigmoid(f, "gate"), memory, "memory")
            new = ops.add(kept, ops.tanh(u, "gate"), "memory")
            hidden = ops.mul(ops.sigmoid(o, "gate"), ops.tanh(new, "squashed"), "hidden")
            memory = jnp.where(valid[:, None], ops.values(new), state.memory)
            return State(memory), ops.values(hidden)

        final, hiddens = jax.lax.scan(step, state, (gates, mask.T))
        ys = map_values(lambda v: v.swapaxes(0, 1), ops.load("hidden", hiddens))
        self.observe(SITES, mask, input=map_values(lambda v: v.swapaxes(0, 1), xs), hidden=ys)
        return ys, mask, final


@dataclasses.dataclass(frozen=True)
class ForgetfulConfig:
    name: str = "forgetful"

    def make(self, policy, features, rematerialize):
        return Forgetful(policy, features)


CONFIG = RNNTConfig(
    vocabulary=7,
    encoder=EncoderConfig(num_layers=2, hidden_size=8, layer=ForgetfulConfig()),
    prediction=StatelessPredictionConfig(4),
    joint_size=6,
    ctc_head=False,
)


@pytest.mark.slow
def test_a_layer_of_existing_operators_needs_no_other_file():
    policy = policy_by_name("ethos_u_16x8")
    model, variables, features = calibrated(CONFIG, policy)

    served = freeze(model, variables)
    assert served.variables["params"]["encoder"]["forgetful_1"]["kernel"].dtype == jnp.int8
    expected = results(model, variables, features, FRAMES)
    found = results(served.model, served.variables, features, 2)
    jax.tree.map(np.testing.assert_array_equal, found, expected)

    assert audit(CONFIG, policy, FEATURES) == ()
    rows = {(row.layer, row.tensor): row.operators for row in tensor_rows(CONFIG, policy)}
    assert rows["encoder/forgetful_0", "memory"] == "NPU: mul, add"

    frozen = export_freeze(model, variables)
    utterance = np.asarray(features)[0, :7]
    decoders = verify(
        frozen, BoundTransducer(variables, model), [UtteranceFeatures("u", utterance)], (1, 2), 2
    ).agreements
    assert [agreement.exact for agreement in decoders] == [True] * 4
    integers = quantize_features(utterance, frozen.encoder.layers[0].input)
    assert first_difference(frozen, integers, 4) is None
