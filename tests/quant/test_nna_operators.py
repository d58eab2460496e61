from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.design import changed_chip
from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.layers.lstm import LSTM_SITES
from rnnt_qat.layers.lstm_scan import LSTMState, lstm_cell, lstm_scan
from rnnt_qat.layers.temporal_gradient import FULL
from rnnt_qat.quant.nna_operators import NnaOperators, Slope
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.operators import FloatOperators
from rnnt_qat.quant.qtensor import QTensor, dequantize
from rnnt_qat.quant.scales import bias_range
from tests.reference import accelerator_cell as oracle
from tests.reference.fixedpoint_int64 import divide

CHIPS = [
    pytest.param(GENERIC_NNA, oracle.GenericNna(), id="generic_nna"),
    pytest.param(ETHOS_U_8X8_16, oracle.Ethos8x8x16(), id="ethos_u_8x8_16"),
    pytest.param(ETHOS_U_16X8, oracle.Ethos16x8(), id="ethos_u_16x8"),
]
SPECS = [GENERIC_NNA, ETHOS_U_8X8_16, ETHOS_U_16X8]
SITES = LSTM_SITES | {
    "joint_pre": Role.JOINT_PRE,
    "joint_hidden": Role.JOINT_HIDDEN,
    "logits": Role.LOGITS,
}


def operators(spec, **fields) -> NnaOperators:
    calibrated = OnAccelerator(spec).calibrated_roles()
    ranges = {site: jnp.float32(4.0) for site, role in SITES.items() if role in calibrated}
    return OnAccelerator(spec).operators(SITES, ranges).replace(**fields)


def accumulator(spec, integers, scale, integer) -> QTensor:
    """An accumulator as ``accumulate`` makes it."""
    integers = np.asarray(integers, np.int64)
    if spec.accumulator.bits <= 32:
        return QTensor(jnp.asarray(integers, jnp.int32 if integer else jnp.float32), scale)
    high, low = jnp.asarray(integers >> 16, jnp.int32), jnp.asarray(integers & 0xFFFF, jnp.int32)
    if integer:
        return QTensor(high, scale, low)
    return QTensor(high.astype(jnp.float32) * 2**16, scale, low.astype(jnp.float32))


@pytest.mark.parametrize(("spec", "chip"), CHIPS)
def test_cell_equals_int64_on_a_million_random_and_corner_states(spec, chip):
    rng = np.random.default_rng(0)
    rows, width = 4096, 256
    corners = np.array([-(2**15), -(2**15) + 1, -1, 0, 1, 2**14, 2**15 - 1])
    # Magnitudes of every size, so that the small ones are not drowned by the saturated.
    pre_x = rng.integers(-(2**15), 2**15, (rows, 4 * width)) >> rng.integers(0, 8, (rows, 1))
    cell = rng.integers(-(2**15), 2**15, (rows, width)) >> rng.integers(0, 8, (rows, 1))
    pre_x[:64], cell[:64] = rng.choice(corners, (64, 4 * width)), rng.choice(corners, (64, width))
    reach = 2 ** (24 if spec.accumulator.bits <= 32 else 34)
    sums = rng.integers(-reach, reach, (rows, 4 * width)) >> rng.integers(0, 20, (rows, 1))
    scale = 2.0**-22 if spec is GENERIC_NNA else np.float32(2.0**-22 * (1 + 357 / 2**14))
    if spec.accumulator.bits > 32:
        scale = np.float32(scale * 2.0**-10)
    expected = oracle.cell(chip, pre_x, sums, float(scale * 2**12), cell)
    for integer in (False, True):
        ops = operators(spec, integer=integer)
        dtype = jnp.int16 if integer else jnp.float32
        hidden, new_cell = jax.jit(lstm_cell)(
            ops,
            jnp.asarray(pre_x, dtype),
            accumulator(spec, sums, jnp.float32(scale), integer),
            jnp.asarray(cell, dtype),
        )
        assert hidden.dtype == (spec.tensor(Role.HIDDEN).format.storage if integer else dtype)
        np.testing.assert_array_equal(hidden, expected[0])
        np.testing.assert_array_equal(new_cell, expected[1])


@pytest.mark.parametrize("unit", ["hard", "plan"])
def test_lines_are_computed_on_the_lattice_and_equal_their_tables(unit):
    """Every input, against the table that serving looks up; in training there is no lookup."""
    spec = changed_chip(GENERIC_NNA, {"joint_hidden.unit": unit}, "lines")
    pre = spec.tensor(Role.JOINT_PRE).format
    inputs = np.arange(pre.minimum, pre.maximum + 1)

    def tanh(integer, x):
        ops = operators(spec, integer=integer)
        return ops.values(ops.tanh(ops.load("joint_pre", x), "joint_hidden"))

    def traced(integer, dtype):
        return str(jax.make_jaxpr(partial(tanh, integer))(jnp.asarray(inputs, dtype)))

    assert "gather" not in traced(False, jnp.float32)
    assert "gather" in traced(True, pre.storage)
    served = tanh(True, jnp.asarray(inputs, pre.storage))
    np.testing.assert_array_equal(tanh(False, jnp.asarray(inputs, jnp.float32)), served)


def test_cell_eager_and_jitted():
    rng = np.random.default_rng(1)
    ops = operators(ETHOS_U_8X8_16, integer=True)
    pre_x, sums = rng.integers(-(2**15), 2**15, (4, 32)), rng.integers(-(2**24), 2**24, (4, 32))
    arguments = (
        jnp.asarray(pre_x, jnp.int16),
        accumulator(ETHOS_U_8X8_16, sums, jnp.float32(2.0**-22 * 1.37), integer=True),
        jnp.asarray(rng.integers(-(2**15), 2**15, (4, 8)), jnp.int16),
    )
    jitted = jax.jit(lstm_cell)(ops, *arguments)
    jax.tree.map(np.testing.assert_array_equal, lstm_cell(ops, *arguments), jitted)


def run_lstm(ops, xs, parameters, batch, width):
    kernel, recurrent, bias = parameters
    xs = ops.input("input", xs)
    pre_x = ops.store("gate_input", ops.accumulate(xs, ops.weight("input_kernel", kernel), bias))
    zeros = jnp.zeros((batch, width))
    state = LSTMState(
        hidden=ops.values(ops.store("hidden", zeros)), cell=ops.values(ops.store("cell", zeros))
    )
    mask = jnp.ones((ops.values(pre_x).shape[0], batch), bool)
    recurrent = ops.weight("recurrent_kernel", recurrent)
    hiddens, cells, _ = lstm_scan(False, FULL, ops, recurrent, ops.values(pre_x), mask, state)
    return ops.load("hidden", hiddens), ops.load("cell", cells)


def lstm_problem(steps=12, batch=3, inputs=10, width=16):
    rng = np.random.default_rng(0)
    parameters = [
        jnp.asarray(rng.normal(0, 0.4, shape), jnp.float32)
        for shape in ((inputs, 4 * width), (width, 4 * width), (4 * width,))
    ]
    xs = jnp.asarray(rng.normal(0, 1.2, (steps, batch, inputs)), jnp.float32)
    return xs, parameters, batch, width


def lstm_loss(parameters, ops):
    xs, _, *sizes = lstm_problem()
    hidden, cell = (dequantize(x) for x in run_lstm(ops, xs, parameters, *sizes))
    return (hidden**2).sum() + hidden.sum() + 0.1 * (cell**2).sum(), (hidden, cell)


LSTM_STEP = jax.jit(jax.value_and_grad(lstm_loss, has_aux=True))


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_serving_equals_training_and_gradients_follow_the_float_ones(spec):
    xs, parameters, *sizes = lstm_problem()
    ops = operators(spec)

    (_, (hidden, cell)), gradients = LSTM_STEP(parameters, ops)
    served = jax.jit(lambda ops: run_lstm(ops, xs, parameters, *sizes))(ops.replace(integer=True))
    np.testing.assert_array_equal(hidden, dequantize(served[0]))
    np.testing.assert_array_equal(cell, dequantize(served[1]))

    (_, (real_hidden, _)), real = LSTM_STEP(parameters, FloatOperators())
    assert jnp.abs(hidden - real_hidden).max() < 0.05
    for ours, theirs in zip(gradients, real, strict=True):
        cosine = (ours * theirs).sum() / (jnp.linalg.norm(ours) * jnp.linalg.norm(theirs))
        assert cosine > 0.995
        ratio = float(jnp.linalg.norm(ours) / jnp.linalg.norm(theirs))
        assert ratio == pytest.approx(1.0, rel=0.05)


def gradient(f, *x):
    return jax.grad(lambda *x: f(*x).values.sum(), argnums=tuple(range(len(x))))(*x)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
class TestGradients:
    def test_storing_reals(self, spec):
        ops = operators(spec)
        # The cell holds +-16.
        x = jnp.asarray([0.0, 3.3, -15.9, 16.0, 17.0, -30.0])
        (g,) = gradient(lambda x: ops.store("cell", x), x)
        assert g.tolist() == [2048.0, 2048.0, 2048.0, 0.0, 0.0, 0.0]

    def test_storing_an_accumulator(self, spec):
        ops = operators(spec)
        scale = jnp.float32(2.0**-16)

        def store(values):
            low = jnp.zeros_like(values) if spec.accumulator.bits > 32 else None
            return ops.store("gate_input", QTensor(values, scale, low))

        values = jnp.asarray([2.0**18, -(2.0**18), 2.0**20, -(2.0**20)])
        out, g = store(values).values, gradient(store, values)[0]
        assert out.tolist() == [2.0**14, -(2.0**14), 32767.0, -32768.0]
        assert g.tolist() == [2.0**-4, 2.0**-4, 0.0, 0.0]

    def test_sum(self, spec):
        ops = operators(spec)
        a, b = jnp.asarray([100.0, 30000.0, -30000.0]), jnp.asarray([5.0, 30000.0, -30000.0])

        def add(a, b):
            return ops.add(ops.load("gate_pre", a), ops.load("gate_pre", b), "gate_pre")

        assert add(a, b).values.tolist() == [105.0, 32767.0, -32768.0]
        assert [g.tolist() for g in gradient(add, a, b)] == [[1.0, 0.0, 0.0]] * 2

    def test_sum_with_an_accumulator(self, spec):
        ops = operators(spec)
        scale = jnp.float32(2.0**-14)

        def add(a, values):
            low = jnp.zeros_like(values) if spec.accumulator.bits > 32 else None
            return ops.add(ops.load("gate_pre", a), QTensor(values, scale, low), "gate_pre")

        # Third: the product alone leaves 16 bits. A fused operator's sum comes back into them.
        a, values = (
            jnp.asarray([0.0, 20000.0, -20000.0]),
            jnp.asarray([65536.0] + [2.0**17 + 2**16] * 2),
        )
        total = [16384.0, 32767.0, 29152.0 if spec.fused_gate_sum else 12767.0]
        assert add(a, values).values.tolist() == total
        d_a, d_values = gradient(add, a, values)
        assert d_a.tolist() == [1.0, 0.0, 1.0]
        assert d_values.tolist() == [0.25, 0.0, 0.25 if spec.fused_gate_sum else 0.0]

    def test_product(self, spec):
        ops = operators(spec)

        def mul(a, b):
            return ops.mul(ops.load("gate", a), ops.load("gate", b), "hidden")

        a, b = jnp.asarray([2.0**14, -(2.0**15)]), jnp.asarray([2.0**13, -(2.0**15)])
        shift = 30 - spec.tensor(Role.HIDDEN).format.frac_bits
        d_a, d_b = gradient(mul, a, b)
        assert d_a.tolist() == [2.0 ** (13 - shift), 0.0]
        assert d_b.tolist() == [2.0 ** (14 - shift), 0.0]

    @pytest.mark.parametrize("slope", Slope)
    def test_units(self, spec, slope):
        ops = operators(spec, slope=slope)
        x = jnp.asarray([-30000.0, -4000.0, -7.0, 3.0, 1500.0, 9000.0])
        step = 2.0**-12 / 2.0**-15
        for operator, exact in (
            (ops.sigmoid, jax.nn.sigmoid),
            (ops.tanh, jnp.tanh),
        ):
            (g,) = gradient(lambda x, f=operator: f(ops.load("gate_pre", x), "gate"), x)
            derivative = jax.vmap(jax.grad(exact))(x * 2.0**-12)
            tolerance = 0.002 if slope is Slope.SMOOTH else 0.05
            np.testing.assert_allclose(g / step, derivative, atol=tolerance)

    def test_unit_slope_is_the_segments(self, spec):
        if spec is ETHOS_U_8X8_16:
            pytest.skip("evaluates, has no segments")
        ops = operators(spec, slope=Slope.UNIT)
        width = 128 if spec is GENERIC_NNA else 512 // 3
        x = jnp.asarray([0.0, width - 1.0])
        (g,) = gradient(lambda x: ops.sigmoid(ops.load("gate_pre", x), "gate"), x)
        y = ops.sigmoid(ops.load("gate_pre", jnp.asarray([0.0, float(width)])), "gate").values
        assert g[0] == g[1]
        assert float(g[0]) == pytest.approx(float(y[1] - y[0]) / width, rel=0.01)

    def test_of_a_calibrated_scale(self, spec):
        if not spec.tensor(Role.LOGITS).calibrated:
            pytest.skip("fixed by the chip")
        ops = operators(spec)
        x = jnp.asarray([0.3, -1.7, 900.0])
        scale = float(ops.scales["logits"])

        def real(scale):
            return dequantize(ops.replace(scales={"logits": scale}).store("logits", x))

        # Esser et al. (2020), eq. 3: round(x / s) - x / s inside, the bound outside.
        jacobian = jax.jacobian(real)(jnp.float32(scale))
        inside = np.round(x[:2] / scale) - x[:2] / scale
        np.testing.assert_allclose(jacobian[:2], inside, atol=2e-3)
        assert jacobian[2] == spec.tensor(Role.LOGITS).format.maximum


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
@pytest.mark.parametrize("depth", [7, 1500])
def test_accumulate_is_exact_and_linear(spec, depth):
    rng = np.random.default_rng(depth)
    ops = operators(spec)
    limit = 2 ** (spec.tensor(Role.INPUT).format.bits - 1)
    x = rng.integers(-limit, limit, (5, depth))
    w = rng.integers(-127, 128, (depth, 6))
    bias = rng.normal(0, 0.1, 6).astype(np.float32)
    x_site = ops.load("input", jnp.asarray(x, jnp.float32))
    scale = jnp.float32(2.0**-9)
    kernel = QTensor(jnp.asarray(w, jnp.float32), scale, format=spec.tensor(Role.WEIGHT).format)

    accumulate = jax.jit(lambda ops, x, w, b: ops.accumulate(x, w, b))
    out = accumulate(ops, x_site, kernel, jnp.asarray(bias))
    unit = np.float32(scale) * np.float32(x_site.scale)
    bias_integers = np.sign(bias) * np.floor(np.abs(bias / unit) + np.float32(0.5))
    total = np.asarray(out.values, np.int64) + np.asarray(out.low, np.int64)
    np.testing.assert_array_equal(total, x @ w + bias_integers.astype(np.int64))
    if spec.accumulator.bits <= 32:
        np.testing.assert_array_equal(out.integers, total)

    served = accumulate(
        ops.replace(integer=True),
        x_site.replace(values=jnp.asarray(x, spec.tensor(Role.INPUT).format.storage)),
        kernel.replace(values=jnp.asarray(w, jnp.int8)),
        jnp.asarray(bias),
    )
    serving = np.asarray(served.values, np.int64)
    if served.low is not None:
        serving = serving * 2**16 + np.asarray(served.low, np.int64)
    np.testing.assert_array_equal(serving, total)

    cotangent = jnp.asarray(rng.normal(size=(5, 6)), jnp.float32)
    _, pull = jax.vjp(
        lambda x, w, b: accumulate(
            ops, x_site.replace(values=x), kernel.replace(values=w), b
        ).values,
        x_site.values, kernel.values, jnp.asarray(bias),
    )  # fmt: skip
    d_x, d_w, d_b = pull(cotangent)
    np.testing.assert_allclose(d_x, cotangent @ w.T, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(d_w, x.T @ cotangent, rtol=1e-4, atol=limit * 1e-4)
    np.testing.assert_allclose(d_b, cotangent.sum(0) / unit, rtol=1e-5)


def test_joint_on_int8_adds_exactly_and_looks_up_every_scale():
    sites = {"encoded": Role.PROJECTION, "predicted": Role.PROJECTION} | SITES
    precision = OnAccelerator(ETHOS_U_8X8_16)
    ranges = {"encoded": 5.0, "predicted": 1.5, "joint_pre": 7.0}
    ops = precision.operators(sites, {k: jnp.float32(v) for k, v in ranges.items()})
    a, b = jnp.arange(-128.0, 128.0)[:, None], jnp.arange(-128.0, 128.0)

    @jax.jit
    def joint(ops, a, b):
        total = ops.add(ops.load("encoded", a), ops.load("predicted", b), "joint_pre")
        return total.values, ops.tanh(total, "joint_hidden").values

    total, hidden = joint(ops, a, b)
    # Scales 2^-4, 2^-6 and 2^-4.
    exact = divide(4 * np.asarray(a, np.int64) + np.asarray(b, np.int64), 4, oracle.AWAY)
    np.testing.assert_array_equal(total, np.clip(exact, -128, 127))
    real = np.tanh(np.asarray(total, np.float64) / 16) * 128
    assert np.abs(np.asarray(hidden) - np.minimum(real, 127)).max() <= 0.5


JOINT = {"encoded": Role.PROJECTION, "predicted": Role.PROJECTION, "hidden_pre": Role.JOINT_PRE}
ADDENDS = ("encoded", "predicted")


@pytest.mark.parametrize("ranges", [(5.0, 1.5, 7.0), (1.0, 1.0, 0.25), (1e-3, 8.0, 2.0)])
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_addends_aligned_beforehand_give_the_same_sum_and_gradient(spec, ranges):
    ranges = dict(zip(JOINT, map(jnp.float32, ranges), strict=True))
    calibrated = OnAccelerator(spec).calibrated_roles()
    ranges = {site: ranges[site] for site, role in JOINT.items() if role in calibrated}
    ops = OnAccelerator(spec).operators(JOINT, ranges)
    qformat = spec.tensor(Role.PROJECTION).format
    steps = np.unique(np.linspace(qformat.minimum, qformat.maximum, 257).round())
    a, b = jnp.asarray(steps, jnp.float32)[:, None], jnp.asarray(steps, jnp.float32)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(a.size, b.size)), jnp.float32)

    def add(ops, a, b):
        total = ops.add(ops.load("encoded", a), ops.load("predicted", b), "hidden_pre")
        return (total.values * weights).sum(), total.values

    def aligned(ops, a, b):
        parts = (
            ops.align(site, x, ADDENDS, "hidden_pre")
            for site, x in zip(ADDENDS, (a, b), strict=True)
        )
        total = ops.add_aligned(*parts, ADDENDS, "hidden_pre")
        return (total.values * weights).sum(), total.values

    both = [jax.value_and_grad(f, (1, 2), has_aux=True)(ops, a, b) for f in (add, aligned)]
    jax.tree.map(np.testing.assert_array_equal, *both)
    served = ops.replace(integer=True)
    total = served.add(
        served.load("encoded", a.astype(qformat.storage)),
        served.load("predicted", b.astype(qformat.storage)),
        "hidden_pre",
    )
    np.testing.assert_array_equal(both[0][0][1], total.values)


def test_a_kernel_of_integers_needs_its_scale():
    with pytest.raises(ValueError, match="frozen kernel 'input_kernel' came without its scale"):
        operators(GENERIC_NNA).weight("input_kernel", jnp.zeros((2, 2), jnp.int8))


def test_units_read_stored_tensors_only():
    with pytest.raises(ValueError, match="not accumulators"):
        operators(GENERIC_NNA).sigmoid(QTensor(jnp.zeros(3), jnp.float32(1)), "gate")


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-7, 1.0])
def test_a_bias_of_any_size_beside_a_kernel_of_any_size_is_kept(size, spec, integer):
    """Clipped to its integers, or wrapped with its sum, it would be something else."""
    ops = operators(spec, integer=integer)
    kernel = size * jnp.asarray([[1.0, -1.0, 0.5], [1.0, 1.0, -1.0]])
    bias = jnp.asarray([6.0, -6.0, 1e-3])
    x = ops.store("input", jnp.asarray([[4.0, 3.0]]))
    held = ops.weight("input_kernel", kernel, x, bias)
    total = dequantize(ops.accumulate(x, held, bias))
    np.testing.assert_allclose(
        total, dequantize(x) @ kernel + bias, rtol=1e-3, atol=0.06 * size + 2e-6
    )
    alone = ops.weight("input_kernel", kernel)
    assert np.array_equal(held.scale, alone.scale) or size < 1e-6


@pytest.mark.parametrize("spec", SPECS)
def test_a_raised_scale_is_frozen_as_it_was_trained(spec):
    ops = operators(spec)
    kernel, bias = jnp.full((2, 3), 3e-13), jnp.asarray([6.0, -6.0, 1e-3])
    x = ops.store("input", jnp.ones((1, 2)))
    trained = ops.weight("input_kernel", kernel, x, bias)
    max_abs = jnp.maximum(
        jnp.abs(kernel).max(), bias_range(spec, Role.GATE_WEIGHT, x.scale, bias, 2)
    )
    frozen = OnAccelerator(spec, serving=True).operators(
        SITES, {"input": jnp.float32(4.0), "input_kernel": max_abs}
    )
    np.testing.assert_array_equal(trained.scale, frozen.scales["input_kernel"])


@pytest.mark.parametrize("integer", [False, True])
def test_what_is_no_number_is_stored_as_zero_in_training_as_in_serving(integer):
    ops = operators(ETHOS_U_8X8_16, integer=integer)
    x = jnp.asarray([jnp.nan, jnp.inf, -jnp.inf, 1.0])
    assert ops.store("input", x).values.tolist() == [0, 127, -128, 32]
    gradient = jax.grad(lambda x: dequantize(ops.store("input", x)).sum())(x) if not integer else x
    assert np.isfinite(gradient[0]) or integer
