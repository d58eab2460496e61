"""Units, layers and recognizers on ``tosa_16x8`` against the TOSA specification's own model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.tosa_16x8 import TOSA_16X8
from rnnt_qat.artefact.artefact import Artefact, load, save
from rnnt_qat.artefact.player import greedy, quantize_features
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.artefact.tosa_arithmetic import TOSA
from rnnt_qat.export.freeze import freeze
from rnnt_qat.export.lstm_graphs import lstm_step_16x8
from rnnt_qat.export.tflite_graph import GraphBuilder
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.tosa_table import TosaTable
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig, StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.serving.freeze import freeze as freeze_for_serving
from rnnt_qat.verify.call_replay import RecordedPlayer, compare_calls
from rnnt_qat.verify.tosa import TOOLS_VARIABLE, TosaReference
from rnnt_qat.verify.verification import UtteranceFeatures, verify
from tests.export.test_freeze import on
from tests.integration.test_lstm_equals_litert import check_lively, random_layer, step_ours

STREAMS = 2048
LIMITS = np.int16(-(2**15)), np.int16(2**15 - 1)
FEATURE_SIZE, FRAMES = 20, 4
LARGE = RNNTConfig(
    vocabulary=64,
    encoder=EncoderConfig(
        num_layers=2, hidden_size=128, layers_before_reduction=1, time_reduction=2
    ),
    prediction=LSTMPredictionConfig(embedding_size=24, hidden_size=128, num_layers=1),
    joint_size=64,
)
SMALL = RNNTConfig(
    vocabulary=7,
    encoder=EncoderConfig(
        num_layers=2, hidden_size=12, layers_before_reduction=1, time_reduction=2
    ),
    prediction=StatelessPredictionConfig(6, context=2),
    joint_size=8,
)


def calibrated(config, spec=TOSA_16X8):
    """The model of random weights under the chip, its variables, and the features calibrated on."""
    precision = on(spec)
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(1, 11, FEATURE_SIZE)), jnp.float32)
    batch = (features, jnp.array([11]), jnp.array([[1, 5, 2]]), jnp.array([3]))
    calibrating = RNNT(config, precision.calibration())

    @jax.jit
    def observe(key):
        variables = calibrating.init(key, *batch)
        params = jax.tree.map(lambda p: 3 * p, variables["params"])
        _, ranges = calibrating.apply(
            {**variables, "params": params}, *batch, mutable="quant_stats"
        )
        return {"params": params, **ranges}

    return RNNT(config, precision), observe(jax.random.key(1)), np.asarray(features)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "scale"),
    [(Function.SIGMOID, 2.0**-12), (Function.TANH, 2.0**-12), (Function.TANH, 2.0**-11)],
)
def test_tables_at_every_input(function, scale):
    x = np.arange(-(2**15), 2**15).astype(np.int16)[None]
    source, output = TensorFormat(np.int16, scale), TensorFormat(np.int16, 2.0**-15)
    graph = GraphBuilder("unit")
    entry = graph.input("x", x.shape, source)
    is_tanh = function is Function.TANH
    node = (graph.tanh if is_tanh else graph.logistic)(entry, output, "y")
    (theirs,) = TosaReference(graph.finish([node])).run(x)
    played = TOSA.tanh(x, source, output) if is_tanh else TOSA.logistic(x, source)
    np.testing.assert_array_equal(played, theirs)
    trained = TosaTable(function)(jnp.asarray(x, jnp.int32), round(-np.log2(scale)))
    np.testing.assert_array_equal(trained, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "hidden", "input_scale", "kernel_scale"),
    [(40, 32, 2.0**-11, 0.003), (80, 128, 2.0**-12, 0.002), (64, 96, 2.0**-10, 0.006)],
)
def test_lstm_step(inputs, hidden, input_scale, kernel_scale):
    """Over 10^6 integers of random states in all cases; carried for three steps."""
    rng = np.random.default_rng(inputs)
    scales = {"input": input_scale, "kernel": kernel_scale}
    variables, layer = random_layer(TOSA_16X8, rng, inputs, hidden, scales)
    reference = TosaReference(lstm_step_16x8(layer, STREAMS))
    state = [rng.integers(*LIMITS, (STREAMS, hidden), np.int16, endpoint=True) for _ in range(2)]
    for array in state:
        array[:4] = np.array([LIMITS[0], LIMITS[1], 0, -1])[:, None]
    for step in range(3):
        x = rng.integers(*LIMITS, (STREAMS, inputs), np.int16, endpoint=True)
        ours = step_ours(TOSA_16X8, variables, x, *state)
        theirs = reference.run(x, *state)
        for name, a, b in zip(("hidden", "cell"), ours, theirs, strict=True):
            assert (a != b).sum() == 0, f"{name} at step {step}"
        state = list(ours)
    check_lively(ours[1])


@pytest.mark.slow
def test_networks_from_random_and_corner_states():
    """Encoder chunk, prediction and joint step: TOSA, the player and JAX, over 10^6 integers."""
    streams = 1100
    model, variables, _ = calibrated(LARGE)
    frozen, serving = freeze(model, variables), freeze_for_serving(model, variables)
    rng = np.random.default_rng(2)

    def drawn(*shape):
        values = rng.integers(*LIMITS, (streams, *shape), np.int16, endpoint=True)
        values[: streams // 2] >>= rng.integers(0, 12, (streams // 2, *[1] * len(shape)))
        values[:4] = np.array([*LIMITS, 0, -1]).reshape(4, *[1] * len(shape))
        return values

    recorded = RecordedPlayer(frozen)
    states = {name: drawn(len(values)) for name, values in recorded.states().items()}
    features = drawn(FRAMES, FEATURE_SIZE)
    labels = rng.integers(0, LARGE.vocabulary, streams)
    encoded, predicted = drawn(LARGE.joint_size), drawn(LARGE.joint_size)
    for n in range(streams):
        recorded.player.set_states({name: values[n] for name, values in states.items()})
        recorded.encode(features[n])
        recorded.predict(int(labels[n]))
        recorded.joint(encoded[n], predicted[n])

    found = compare_calls(frozen, recorded.calls, TosaReference)
    assert (found.differing, found.first) == (0, None)
    assert found.integers > 10**6

    def placed(network, empty):
        return tuple(
            type(state)(
                **{
                    site: jnp.asarray(states[f"{network}/lstm_{n}/{site}"], values.dtype)
                    for site, values in vars(state).items()
                }
            )
            for n, state in enumerate(empty)
        )

    @jax.jit
    def served(serving, features, labels, encoded, predicted, before):
        mask = jnp.ones(features.shape[:2], bool)
        encoder = serving.encode(features, mask, before[0])
        prediction = serving.predict(labels, before[1])
        return encoder[0], encoder[2], *prediction, serving.joint(encoded, predicted)

    before = (
        placed("encoder", serving.initial_encoder_state(streams)),
        placed("prediction", serving.initial_prediction_state(streams)),
    )
    real = features * np.float32(frozen.encoder.layers[0].input.scale)
    ours = served(serving, real, jnp.asarray(labels, jnp.int32), encoded, predicted, before)
    theirs, encoder_states, following, prediction_states, logits = jax.tree.map(np.asarray, ours)
    scale = frozen.joint.output.output.scale
    by_name = {
        "encoder/encoded": theirs,
        "prediction/predicted": following[:, None],
        "joint/logits": np.rint(logits / scale)[:, None],
    }
    after = {"encoder": encoder_states, "prediction": prediction_states}
    for name, values in states.items():
        network, layer, site = name.split("/")
        state = getattr(after[network][int(layer.removeprefix("lstm_"))], site)
        assert state.shape == values.shape
        by_name[name] = state[:, None]
    for name, values in by_name.items():
        played = np.stack([c.results[name] for c in recorded.calls if name in c.results])
        np.testing.assert_array_equal(values, played, err_msg=name)
    check_lively(by_name["encoder/lstm_1/hidden"])


@pytest.mark.slow
@pytest.mark.parametrize("spec", [TOSA_16X8, TOSA_16X8.with_weight_bits(4)], ids=["w8", "w4"])
def test_every_decoder_of_an_artefact_agrees(spec, tmp_path, monkeypatch):
    model, variables, features = calibrated(SMALL, spec)
    settings = {"log_mel": {"num_mel_bins": FEATURE_SIZE}, "stack": 1, "deviation": 1.0}
    settings |= {"mean": [0.0] * FEATURE_SIZE, "std": [1.0] * FEATURE_SIZE}
    written = Artefact(freeze(model, variables), ("", *"abcdef"), settings)
    frozen = load(save(written, tmp_path / "artefact")).model
    assert frozen.chip == "tosa_16x8"
    assert frozen.arithmetic == TOSA
    heard = [UtteranceFeatures("a", features), UtteranceFeatures("b", features[:5])]
    transducer = BoundTransducer(variables, model)
    told: list[tuple[int, int]] = []
    found = verify(frozen, transducer, heard, (1, 3), 2, lambda *at: told.append(at))
    frames = len(features) + 5
    assert {total for _, total in told} == {5 * frames}  # two passes more for each chunk size
    assert told == sorted(set(told))
    assert told[-1] == (5 * frames, 5 * frames)
    decoders = [(a.decoder, a.chunk_frames) for a in found.agreements]
    reference = "TOSA reference model"
    assert decoders == [("JAX serving model", 1), (reference, 1), (reference, 3)]
    for agreement in found.agreements:
        assert agreement.exact, agreement
        assert agreement.tokens > 0
        assert agreement.integers > 100
    assert (found.missing, found.tflm_differing_tokens) == ("", None)
    integers = quantize_features(features, frozen.encoder.layers[0].input)
    assert found.transcripts["a"] == greedy(RecordedPlayer(frozen), integers, 2, 2)

    monkeypatch.setenv(TOOLS_VARIABLE, str(tmp_path))
    without = verify(frozen, transducer, heard[:1], (1,), 2, lambda *at: told.append(at))
    assert told[-1] == (len(features), len(features))
    assert [a.decoder for a in without.agreements] == ["JAX serving model"]
    assert "not compared with TOSA's reference model" in without.missing
    assert "lacks tosa-converter-for-tflite" in without.missing
