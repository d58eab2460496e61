"""The serving program, in a fresh process with nothing but JAX, finds the evaluator's tokens."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.endpoint import EndpointConfig, EndpointRule
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.export.serving_program import export_serving_program
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.models.bound_transducer import BoundTransducer
from tests.export.test_freeze import FEATURE_SIZE, LSTM_PREDICTION, calibrated, on

PROGRAM = """
import json, sys, numpy as np
from jax import export
folder, audio = sys.argv[1], np.load(sys.argv[2])
start, step, finish = (
    export.deserialize(bytearray(open(f"{folder}/{name}.stablehlo", "rb").read()))
    for name in ("start", "step", "finish")
)
size, state, found = step.in_avals[0].shape[1], start.call(), []
shapes = {name: x.shape for name, x in state.items()}

def take(emitted):
    n = int(emitted["length"][0])
    parts = emitted["tokens"][0, :n], emitted["emission_frames"][0, :n]
    found.extend(zip(*(x.tolist() for x in parts)))

for begin in range(0, len(audio), size):
    chunk = audio[begin : begin + size]
    padded = np.pad(chunk, (0, size - len(chunk)))[None]
    emitted, state = step.call(padded, np.array([len(chunk)], np.int32), state)
    take(emitted)
    assert {name: x.shape for name, x in state.items()} == shapes
take(finish.call(state))
print(json.dumps(found))
assert "rnnt_qat" not in sys.modules
"""
SEARCH = GreedyConfig(max_symbols_per_frame=2, max_tokens=4000)
RULES = EndpointConfig((EndpointRule(must_contain_speech=False, min_utterance_s=0.6),))


@pytest.fixture(scope="module")
def recognizer():
    model, variables, _ = calibrated(on(ETHOS_U_8X8_16), LSTM_PREDICTION)
    config = FrontendConfig(LogMelConfig(num_mel_bins=FEATURE_SIZE), stack=1)
    stats = FeatureStats(np.full(FEATURE_SIZE, -9, "f"), np.full(FEATURE_SIZE, 2, "f"))
    return Frontend(config, stats), BoundTransducer(variables, model)


@pytest.fixture(scope="module")
def audio():
    return np.random.default_rng(0).normal(0, 0.1, 160_000).astype(np.float32)


def run_alone(folder, audio):
    """Tokens and frames that a process with nothing but JAX finds."""
    np.save(folder / "audio.npy", audio)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(folder / "audio.npy")],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    return [tuple(pair) for pair in json.loads(run.stdout)]


def decode(recognizer, audio):
    frontend, transducer = recognizer
    driver = ChunkDriver(frontend, SEARCH.build())
    whole = jax.jit(lambda t, a, n: driver.decode(t, a, n, None))(
        transducer, audio[None], np.array([len(audio)], np.int32)
    )
    assert whole.overflow[0] == 0
    n = int(whole.length[0])
    return list(
        zip(whole.tokens[0, :n].tolist(), whole.emission_frames[0, :n].tolist(), strict=True)
    )


@pytest.mark.slow
def test_a_fresh_process_finds_the_same_tokens_however_many(recognizer, audio, tmp_path):
    export_serving_program(recognizer[0], SEARCH, recognizer[1], 40.0, tmp_path)
    want = decode(recognizer, audio)
    assert len(want) > 50
    assert run_alone(tmp_path, audio) == [*want, (-1, 500)]
    signature = (tmp_path / "signature.txt").read_text()
    assert "argument [0][0]: float32[1,640]" in signature
    assert "result [1]['search/hypothesis/tokens']: int32[1,4]" in signature


@pytest.mark.slow
def test_segments_end_in_the_program(recognizer, audio, tmp_path):
    export_serving_program(recognizer[0], SEARCH, recognizer[1], 40.0, tmp_path, endpoint=RULES)
    found = run_alone(tmp_path, audio[:48_000])
    assert [frame for token, frame in found if token == -1] == [30, 60, 90, 120, 150, 150]
    first = [pair for pair in found if pair[1] < 30 and pair[0] != -1]
    assert first == decode(recognizer, audio[: 30 * 320])
