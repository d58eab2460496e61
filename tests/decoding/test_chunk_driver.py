"""The streaming program: one scan, nothing crosses to the host, nothing calls back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.decoding.greedy import GreedyConfig
from tests.evaluation.toy import FRONTEND, RECOGNIZER, batches

BATCH = batches(rows=4)[0]
DRIVER = ChunkDriver(FRONTEND, GreedyConfig(3, max_tokens=128).build())


def decode(driver, chunk_ms):
    return jax.jit(lambda audio, lengths: driver.decode(RECOGNIZER, audio, lengths, chunk_ms))


def same(got, want):
    for name in ("tokens", "length", "emission_frames", "overflow"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)


def test_a_live_stream_gives_what_the_scan_gives_and_partials_only_grow():
    want = decode(DRIVER, None)(BATCH.audio, BATCH.audio_lengths)
    assert want.length.max() > 5
    step = jax.jit(lambda *args: DRIVER.step(RECOGNIZER, *args))
    chunk = DRIVER.chunk_samples(RECOGNIZER, 160)
    assert chunk == 2560
    state = DRIVER.initial_state(RECOGNIZER, 4)
    partial = DRIVER.hypothesis(state)
    audio = np.pad(BATCH.audio, ((0, 0), (0, -BATCH.audio.shape[1] % chunk)))
    for start in range(0, audio.shape[1], chunk):
        lengths = np.clip(BATCH.audio_lengths - start, 0, chunk)
        state = step(audio[:, start : start + chunk], lengths, state)
        before, partial = partial, DRIVER.hypothesis(state)
        for b in range(4):
            n = int(before.length[b])
            np.testing.assert_array_equal(partial.tokens[b, :n], before.tokens[b, :n])
            frames_heard = -(-(start + chunk) // 640)
            assert (np.asarray(partial.emission_frames[b]) < frames_heard).all()
    same(partial, want)


def test_beam_streams_too():
    driver = ChunkDriver(FRONTEND, BeamConfig(3, 2, 128).build())
    whole = decode(driver, None)(BATCH.audio, BATCH.audio_lengths)
    same(decode(driver, 240)(BATCH.audio, BATCH.audio_lengths), whole)
    assert whole.length.sum() > 4


@pytest.mark.parametrize("garbage", [np.nan, 1e30])
def test_what_lies_past_the_end_does_not_matter(garbage):
    run = decode(DRIVER, 480)
    past = np.arange(BATCH.audio.shape[1]) >= BATCH.audio_lengths[:, None]
    noisy = np.where(past, np.float32(garbage), BATCH.audio)
    same(run(noisy, BATCH.audio_lengths), run(BATCH.audio, BATCH.audio_lengths))


def test_rows_without_audio_stay_empty():
    hypothesis = decode(DRIVER, 240)(BATCH.audio, np.array([0, 16_000, 0, 1]))
    np.testing.assert_array_equal(np.asarray(hypothesis.length)[[0, 2]], 0)
    np.testing.assert_array_equal(np.asarray(hypothesis.log_prob)[[0, 2]], 0)


@pytest.mark.parametrize("config", [GreedyConfig(3), BeamConfig(2, 2)])
def test_the_program_never_leaves_the_device(config):
    run = decode(ChunkDriver(FRONTEND, config.build()), 240)
    audio, lengths = jax.device_put((BATCH.audio, BATCH.audio_lengths))
    text = run.lower(audio, lengths).compile().as_text()
    for word in ("callback", "infeed", "outfeed", "send(", "recv("):
        assert word not in text, word
    with jax.transfer_guard("disallow"):
        jax.block_until_ready(run(audio, lengths))


def test_sizes_that_cut_a_frame_are_refused():
    with pytest.raises(ValueError, match=r"chunk of 900 samples is not a multiple .* 640 samples"):
        DRIVER.step(
            RECOGNIZER, jnp.zeros((1, 900)), jnp.array([900]), DRIVER.initial_state(RECOGNIZER, 1)
        )
    with pytest.raises(ValueError, match=r"chunk_ms=10 .* the nearest is 40"):
        DRIVER.chunk_samples(RECOGNIZER, 10)
