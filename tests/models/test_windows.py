import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.batch import Batch, mask_from_lengths
from rnnt_qat.layers.temporal_gradient import FULL, TemporalGradient
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.recurrent import LSTMConfig
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.objectives.outputs import forward
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.quant.quantized_module import QUANT_STATS
from tests.objectives.forward_pass import CONFIG, batch, inputs, params


def config(window, gradient=FULL):
    layer = LSTMConfig(gradient)
    encoder = dataclasses.replace(CONFIG.encoder, window_frames=window, layer=layer)
    return dataclasses.replace(CONFIG, encoder=encoder)


def loss(params, config, policy, ranges, of: Batch):
    """A sum over the encoder's outputs and cells, and the cells by layer."""
    made = forward(RNNT(config, policy), {"params": params, **ranges}, inputs(of))
    encoded = dequantize(made.lattice.head.ops.load("encoded", made.lattice.encoded))
    valid = mask_from_lengths(made.lattice.encoded_lengths, encoded.shape[1])
    cells = sum(jnp.where(c.mask[..., None], c.cell, 0).sum() for c in made.cells.values())
    return jnp.sin(jnp.where(valid[..., None], encoded, 0)).sum() + cells, made.cells


@pytest.mark.parametrize(
    ("policy", "gradient"),
    [
        ("float32", TemporalGradient("online")),
        pytest.param("generic_nna", TemporalGradient(), marks=pytest.mark.slow),
    ],
    ids=lambda x: getattr(x, "kind", x),
)
def test_windows_change_neither_losses_nor_cells_nor_gradients(policy, gradient):
    """10 frames in windows of 4, the last of which is not full; NaN in the padding."""
    policy, of, network, ranges = policy_by_name(policy), batch(), params(), {}
    if policy != FLOAT32:
        calibrating = RNNT(CONFIG, policy.calibration())
        _, ranges = calibrating.apply({"params": network}, *inputs(of), mutable=[QUANT_STATS])
    compute = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=(1, 2))
    (whole, cells), expected = compute(network, config(0, gradient), policy, ranges, of)
    (parts, same_cells), got = compute(network, config(4, gradient), policy, ranges, of)
    np.testing.assert_allclose(parts, whole, rtol=1e-6)
    assert cells.keys() == same_cells.keys()
    for path, states in cells.items():
        np.testing.assert_array_equal(states.mask, same_cells[path].mask)
        valid = np.asarray(states.mask)
        np.testing.assert_allclose(
            np.asarray(states.cell)[valid], np.asarray(same_cells[path].cell)[valid], atol=1e-6
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, expected)


def test_windows_keep_less_for_the_backward_pass():
    long = dataclasses.replace(
        batch(),
        features=jnp.ones((3, 400, 3)),
        feature_lengths=jnp.full(3, 400),
    )

    def temporary_bytes(window):
        def encoder_loss(network):
            made = forward(RNNT(config(window), FLOAT32), {"params": network}, inputs(long))
            return made.lattice.encoded.sum()

        compiled = jax.jit(jax.grad(encoder_loss)).lower(params()).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary_bytes(20) < 0.5 * temporary_bytes(0)


def test_dropout_draws_anew_in_every_window():
    """Equal frames in both windows; the same masks would give the same first outputs."""
    of = dataclasses.replace(
        batch(), features=jnp.ones((3, 8, 3)), feature_lengths=jnp.full(3, 8, jnp.int32)
    )
    encoder = dataclasses.replace(CONFIG.encoder, dropout_rate=0.5, window_frames=4, num_layers=2)
    model = RNNT(dataclasses.replace(CONFIG, encoder=encoder), FLOAT32)
    network = jax.tree.map(jnp.zeros_like, params())
    network["encoder"]["lstm_1"]["bias"] += 1.0
    network["encoder"]["projection"]["kernel"] += 1.0
    keys = jax.random.split(jax.random.key(0), 3)
    encoded = forward(model, {"params": network}, inputs(of), keys).lattice.encoded
    kept = np.asarray(encoded) / np.asarray(encoded).max()
    assert not np.allclose(kept[:, :2], kept[:, 2:], atol=0.1)


def test_partial_blocks_are_refused():
    with pytest.raises(ValueError, match="window_frames=5 must be a multiple of time_reduction=2"):
        EncoderConfig(time_reduction=2, window_frames=5)
