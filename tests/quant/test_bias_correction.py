import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.layers.dense import Dense
from rnnt_qat.layers.gru import GRU, GRU_SITES
from rnnt_qat.layers.lstm import LSTM, LSTM_SITES
from rnnt_qat.layers.projected_lstm import PROJECTED_LSTM_SITES, ProjectedLSTM
from rnnt_qat.quant.bias_correction import corrected_biases
from rnnt_qat.quant.mean_operands import OperandRecorder
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.quant.quantized_module import QUANT_STATS, calibrated_ranges
from tests.layers.streaming_contract import random_ragged
from tests.reference.lstm import lstm_float64

BATCH, FRAMES, WIDTH, HIDDEN = 4, 7, 6, 8
KERNELS_ALONE = policy_by_name("ethos_u_8x8_16_w2@weights")
"""Rounds kernels to two bits and computes in floating point."""
CHIP = policy_by_name("generic_nna_w2")


def ragged(number=0):
    """Frames whose mean is not zero, with NaN in the padding, an empty row among them."""
    xs, mask = random_ragged(jax.random.key(number), BATCH, FRAMES, WIDTH)
    return xs + 1, mask


def calibration(layer):
    def observe(params, ranges, batch):
        variables = {"params": params, QUANT_STATS: ranges}
        return layer.apply(variables, *batch, mutable=[QUANT_STATS])[1][QUANT_STATS]

    return jax.jit(observe)


def corrected(make, policy, batches):
    """A layer's parameters before and after correction, and what calibration recorded."""
    params = jax.jit(make(FLOAT32).init)(jax.random.key(1), *batches[0])["params"]
    params = jax.tree.map(lambda p: 2 * p, params)
    observe = calibration(make(policy.calibration(operands=True)))
    observed = {}
    for batch in batches:
        observed = observe(params, observed, batch)
    variables = {"params": params, QUANT_STATS: calibrated_ranges(observed)}

    def correct(variables, observed):
        return corrected_biases(make(policy), variables, observed, *batches[0])

    return params, jax.jit(correct)(variables, observed), observed


def rounding(policy, sites, params):
    """What a policy adds to each kernel, in float64."""
    operators = policy.resolve(()).operators(sites, {})
    return {
        name: np.asarray(dequantize(operators.weight(name, w)) - w, np.float64)
        for name, w in params.items()
        if name != "bias"
    }


def mean(batches):
    """Mean over the valid positions of all batches, in float64."""
    return np.concatenate([np.asarray(x, np.float64)[np.asarray(m)] for x, m in batches]).mean(0)


def before_each(hiddens):
    return np.concatenate([np.zeros_like(hiddens[:, :1]), hiddens[:, :-1]], axis=1)


def test_mean_error_of_a_two_bit_kernel_is_gone():
    batches = [ragged(0), ragged(1)]
    before, after, _ = corrected(lambda p: Dense(p, HIDDEN), KERNELS_ALONE, batches)

    def error(params):
        return mean(
            (
                Dense(KERNELS_ALONE, HIDDEN).apply({"params": params}, xs)
                - Dense(FLOAT32, HIDDEN).apply({"params": before}, xs),
                mask,
            )
            for xs, mask in batches
        )

    assert np.abs(error(before)).max() > 0.1
    np.testing.assert_allclose(error(after), 0, atol=1e-5)
    np.testing.assert_array_equal(after["kernel"], before["kernel"])


def test_dense_layer_equals_numpy():
    batches = [ragged(0), ragged(1)]
    before, after, _ = corrected(lambda p: Dense(p, HIDDEN), KERNELS_ALONE, batches)
    apply = Dense(KERNELS_ALONE, HIDDEN).apply
    # Rows of the identity read the rounded kernel; the bias is zero.
    rounded = np.asarray(apply({"params": before}, jnp.eye(WIDTH)), np.float64)
    shift = mean(batches) @ (rounded - np.asarray(before["kernel"], np.float64))
    np.testing.assert_allclose(after["bias"] - before["bias"], -shift, atol=1e-5)


@pytest.mark.parametrize("policy", [KERNELS_ALONE, CHIP], ids=lambda p: p.name)
def test_lstm_equals_numpy(policy):
    batches = [ragged(0), ragged(1)]
    before, after, _ = corrected(lambda p: LSTM(p, HIDDEN), policy, batches)
    change = rounding(policy, LSTM_SITES, before)
    hiddens = [
        (before_each(lstm_float64(before, xs, mask)[0]), np.asarray(mask)) for xs, mask in batches
    ]
    of_input, of_hidden = (
        mean(batches) @ change["input_kernel"],
        mean(hiddens) @ change["recurrent_kernel"],
    )
    assert min(np.abs(of_input).max(), np.abs(of_hidden).max()) > 0.01
    shift = of_input + of_hidden
    np.testing.assert_allclose(after["bias"] - before["bias"], -shift, atol=2e-5)


def test_kernels_of_a_gru_share_blocks_of_the_bias():
    xs, mask = batch = ragged()
    before, after, _ = corrected(lambda p: GRU(p, HIDDEN), KERNELS_ALONE, [batch])
    change = rounding(KERNELS_ALONE, GRU_SITES, before)
    hiddens, *_ = GRU(FLOAT32, HIDDEN).apply({"params": before}, xs, mask)
    hidden = before_each(np.asarray(hiddens))
    gate = np.nan_to_num(xs) @ before["input_kernel"] + before["bias"]
    reset = jax.nn.sigmoid(gate[..., :HIDDEN] + hidden @ before["reset_kernel"])
    shift = mean([batch]) @ change["input_kernel"] + np.concatenate(
        [
            mean([(hidden, mask)]) @ change["reset_kernel"],
            mean([(hidden, mask)]) @ change["update_kernel"],
            mean([(reset * hidden, mask)]) @ change["candidate_kernel"],
        ]
    )
    np.testing.assert_allclose(after["bias"] - before["bias"], -shift, atol=2e-5)


def test_projection_without_bias_stays():
    xs, mask = batch = ragged()
    before, after, observed = corrected(lambda p: ProjectedLSTM(p, HIDDEN, 3), CHIP, [batch])
    change = rounding(CHIP, PROJECTED_LSTM_SITES, before)
    ys, *_ = ProjectedLSTM(FLOAT32, HIDDEN, 3).apply({"params": before}, xs, mask)
    projected = before_each(np.asarray(ys))
    shift = mean([batch]) @ change["input_kernel"]
    shift += mean([(projected, mask)]) @ change["recurrent_kernel"]
    np.testing.assert_allclose(after.pop("bias") - before.pop("bias"), -shift, atol=2e-5)
    jax.tree.map(np.testing.assert_array_equal, after, before)
    assert observed["projection_kernel.operand.observed"].count == mask.sum()


@pytest.mark.parametrize("layer", [Dense, LSTM, GRU])
def test_ranges_are_those_without_correction(layer):
    batch = ragged()
    params, _, observed = corrected(lambda p: layer(p, HIDDEN), CHIP, [batch])
    plain = calibration(layer(CHIP.calibration(), HIDDEN))(params, {}, batch)
    jax.tree.map(np.testing.assert_array_equal, calibrated_ranges(observed), plain)


def test_a_large_correction_fits_the_bias_of_the_chip():
    """The layer raises the range of its kernel for any bias that the chip could not hold."""
    narrow = policy_by_name("generic_nna{weights=2, bias.bits=12}")
    xs = 100 + jax.random.normal(jax.random.key(0), (BATCH, FRAMES, WIDTH))
    batch = xs, jnp.ones((BATCH, FRAMES), bool)
    before, after, observed = corrected(lambda p: Dense(p, HIDDEN), narrow, [batch])
    assert np.abs(after["bias"] - before["bias"]).max() > 10
    variables = {"params": after, QUANT_STATS: calibrated_ranges(observed)}
    stored = Dense(narrow, HIDDEN).apply(variables, jnp.zeros((1, WIDTH)))
    assert np.abs(dequantize(stored) - after["bias"]).max() <= np.max(stored.scale) / 2


def test_a_changed_kernel_is_refused():
    recorder = OperandRecorder(lambda *_: None)
    kernel = recorder.weight("kernel", jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="as it is"):
        recorder.accumulate(jnp.ones((1, 2)), 2 * kernel)
