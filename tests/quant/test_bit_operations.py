import jax
import jax.numpy as jnp
import pytest

from rnnt_qat.layers.dense import Dense
from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.models.bit_operations import training_products
from rnnt_qat.quant.bit_operations import Product, count_products
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS
from tests.objectives.forward_pass import CONFIG, FEATURES

ROWS, FRAMES, WIDTH, HIDDEN = 2, 5, 3, 4


def test_products_in_a_scan_count_once_a_turn():
    def program(a, b):
        return jax.lax.scan(lambda c, _: (c @ b, None), a, length=4)[0]

    counts = count_products(program, jnp.ones((2, 3)), jnp.ones((3, 3)))
    assert counts == {Product("", 32, 32): 4 * 2 * 3 * 3}


@pytest.mark.parametrize(
    ("line", "weight_bits", "activation_bits"),
    [
        ("float32", 32, 32),
        ("w4a8", 4, 8),
        ("generic_nna_w2", 2, 8),
        ("ethos_u_16x8", 8, 16),
    ],
)
def test_a_layers_products_have_the_bits_of_its_precision(line, weight_bits, activation_bits):
    """An emulated 16-bit product is several products in the program, and one on the chip."""
    policy = policy_by_name(line)
    xs, mask = jnp.ones((ROWS, FRAMES, WIDTH)), jnp.ones((ROWS, FRAMES), bool)
    lstm = LSTM(policy.calibration(), HIDDEN, name="lstm_0")
    dense = Dense(policy.calibration(), 6, name="projection")
    for layer, shape, macs in (
        (lstm, (WIDTH, HIDDEN), ROWS * FRAMES * 4 * HIDDEN * (WIDTH + HIDDEN)),
        (dense, (), ROWS * FRAMES * WIDTH * 6),
    ):
        variables = jax.eval_shape(layer.init, jax.random.key(0), xs, mask)
        used = layer.clone(policy=policy)
        variables = {k: v for k, v in variables.items() if k in ("params", QUANT_STATS)}
        counts = count_products(lambda v, used=used: used.apply(v, xs, mask), variables)
        assert counts == {Product("", weight_bits, activation_bits): macs}, (layer, shape)


def test_a_loop_of_unknown_length_is_refused():
    def program(a, n):
        return jax.lax.fori_loop(0, n, lambda _, c: c @ a, a)

    with pytest.raises(ValueError, match="a loop of unknown length multiplies matrices"):
        count_products(program, jnp.ones((3, 3)), jnp.int32(4))


def test_a_gradient_costs_two_products_of_its_own_bits():
    product = Product("encoder/lstm_0", 4, 8)
    assert product.forward_bits == 32
    assert product.training_bits(32) == 32 + 32 * 4 + 32 * 8
    assert product.training_bits(8) == 32 + 8 * 4 + 8 * 8


def test_a_recognizers_products_are_counted_by_layer():
    """Encoder, prediction network and every cell of the lattice; mixed precisions by layer."""
    policy = policy_by_name("w8a8[joint:w4a8]")
    rows, frames, labels = 2, 8, 3
    counts = training_products(CONFIG, policy, FEATURES, rows, frames, labels)
    found = {product.layer: (product, macs) for product, macs in counts.items()}
    encoder, joint = CONFIG.encoder, CONFIG.joint_size
    half = rows * frames // encoder.time_reduction
    hidden = encoder.hidden_size
    expected = {
        "encoder/lstm_0": rows * frames * 4 * hidden * (FEATURES + hidden),
        "encoder/lstm_1": half * 4 * hidden * (2 * hidden + hidden),
        "encoder/projection": half * hidden * joint,
        "prediction/lstm_0": rows * (labels + 1) * 4 * 5 * (4 + 5),
        "prediction/projection": rows * (labels + 1) * 5 * joint,
        "joint": half * (labels + 1) * joint * CONFIG.vocabulary,
    }
    assert {layer: macs for layer, (_, macs) in found.items()} == expected
    assert {layer: p.weight_bits for layer, (p, _) in found.items()} == {
        layer: 4 if layer == "joint" else 8 for layer in expected
    }
