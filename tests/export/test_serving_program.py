"""The serving program, in a fresh process with nothing but JAX, finds the evaluator's tokens."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.export.serving_program import export_serving_program
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.models.bound_transducer import BoundTransducer
from tests.export.test_freeze import FEATURE_SIZE, LSTM_PREDICTION, calibrated, on

PROGRAM = """
import sys, numpy as np
from jax import export
folder, audio = sys.argv[1], np.load(sys.argv[2])
start, step = (
    export.deserialize(bytearray(open(f"{folder}/{name}.stablehlo", "rb").read()))
    for name in ("start", "step")
)
size, state = step.in_avals[0].shape[1], start.call()
for begin in range(0, len(audio), size):
    chunk = audio[begin : begin + size]
    padded = np.pad(chunk, (0, size - len(chunk)))[None]
    state = step.call(padded, np.array([len(chunk)], np.int32), state)
length = int(state["search/hypothesis/length"][0])
print(state["search/hypothesis/tokens"][0, :length].tolist())
assert "rnnt_qat" not in sys.modules
"""


@pytest.mark.slow
def test_a_fresh_process_finds_the_same_tokens(tmp_path):
    model, variables, _ = calibrated(on(ETHOS_U_8X8_16), LSTM_PREDICTION)
    config = FrontendConfig(LogMelConfig(num_mel_bins=FEATURE_SIZE), stack=1)
    stats = FeatureStats(np.full(FEATURE_SIZE, -9, "f"), np.full(FEATURE_SIZE, 2, "f"))
    driver = ChunkDriver(
        Frontend(config, stats), GreedyConfig(max_symbols_per_frame=2, max_tokens=40).build()
    )
    transducer = BoundTransducer(variables, model)
    audio = np.random.default_rng(0).normal(0, 0.1, 3000).astype(np.float32)
    export_serving_program(driver, transducer, 40.0, tmp_path)
    np.save(tmp_path / "audio.npy", audio)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(tmp_path / "audio.npy")],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    decode = jax.jit(lambda t, a, n: driver.decode(t, a, n, None))
    whole = decode(transducer, audio[None], np.array([len(audio)], np.int32))
    tokens = whole.tokens[0, : int(whole.length[0])].tolist()
    assert len(tokens) > 3
    assert run.stdout.decode().strip() == str(tokens)
    signature = (tmp_path / "signature.txt").read_text()
    assert "argument [0][0]: float32[1,640]" in signature
    assert "result ['search/hypothesis/tokens']: int32[1,40]" in signature
