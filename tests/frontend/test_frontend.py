import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.batch import AudioBatch
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.statistics import FeatureStats

RNG = np.random.default_rng(0)
STATS = FeatureStats(
    RNG.normal(-5, 2, 80).astype(np.float32), RNG.uniform(1, 4, 80).astype(np.float32)
)
run = jax.jit(lambda frontend, audio, lengths, state: frontend(audio, lengths, state))


def make_frontend(stack=3):
    return Frontend(FrontendConfig(stack=stack), STATS)


def ragged(batch=4, num_samples=1920 * 8):
    rng = np.random.default_rng(1)
    lengths = np.array([num_samples, 1, 0, num_samples - 777])[:batch]
    audio = rng.normal(0, 0.1, (batch, num_samples)).astype(np.float32)
    return audio, lengths


@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("chunk_ms", [None, 80, 240, 640])
def test_streaming_is_the_whole_to_the_bit(stack, chunk_ms):
    frontend = make_frontend(stack)
    hops = stack if chunk_ms is None else int(chunk_ms / 10) // stack * stack
    chunk = hops * 160
    audio, lengths = ragged(num_samples=chunk * (25 if chunk_ms is None else 5))
    features, mask, _ = run(frontend, audio, lengths, None)
    state = frontend.initial_state(len(audio))
    for start in range(0, audio.shape[1], chunk):
        left = np.clip(lengths - start, 0, chunk)
        out, out_mask, state = run(frontend, audio[:, start : start + chunk], left, state)
        frames = slice(start // (stack * 160), (start + chunk) // (stack * 160))
        np.testing.assert_array_equal(out, features[:, frames])
        np.testing.assert_array_equal(out_mask, mask[:, frames])


def test_a_scan_over_chunks_inside_one_program_gives_the_same_bits():
    frontend = make_frontend()
    audio, lengths = ragged()
    chunks = audio.reshape(len(audio), 8, -1).transpose(1, 0, 2)
    starts = np.arange(8) * chunks.shape[-1]

    @jax.jit
    def scanned(audio_chunks):
        def step(state, chunk):
            audio, start = chunk
            left = jnp.clip(lengths - start, 0, audio.shape[1])
            features, _, state = frontend(audio, left, state)
            # A consumer that the compiler may fuse into the features.
            return state, (features, jnp.tanh(features).sum())

        return jax.lax.scan(step, frontend.initial_state(len(lengths)), (audio_chunks, starts))[1]

    features, _ = scanned(chunks)
    whole, _, _ = run(frontend, audio, lengths, None)
    joined = np.asarray(features).transpose(1, 0, 2, 3).reshape(whole.shape)
    np.testing.assert_array_equal(joined, whole)


def test_padding_is_zero_whatever_lies_in_it():
    frontend = make_frontend()
    audio, lengths = ragged()
    features, mask, _ = run(frontend, audio, lengths, None)
    poisoned = np.where(np.arange(audio.shape[1]) < lengths[:, None], audio, np.nan)
    again, _, state = run(frontend, poisoned, lengths, None)
    np.testing.assert_array_equal(features, again)
    assert np.isfinite(state).all()
    assert not np.asarray(features)[~np.asarray(mask)].any()
    np.testing.assert_array_equal(mask.sum(1), frontend.config.num_frames(lengths))


def test_a_row_does_not_depend_on_its_batch_or_padding():
    frontend = make_frontend()
    audio, lengths = ragged()
    features, _, _ = run(frontend, audio, lengths, None)
    length = int(lengths[3])
    alone = np.zeros((1, frontend.config.padded_samples(length)), np.float32)
    alone[0, :length] = audio[3, :length]
    one, one_mask, _ = run(frontend, alone, np.array([length]), None)
    assert np.asarray(one_mask).all()
    np.testing.assert_array_equal(one[0], features[3, : one.shape[1]])


def test_stacking_concatenates_oldest_first():
    audio, lengths = ragged()
    single, _, _ = run(make_frontend(1), audio, lengths, None)
    stacked, _, _ = run(make_frontend(3), audio, lengths, None)
    np.testing.assert_array_equal(np.asarray(single)[0].reshape(-1, 240), stacked[0])


def test_batch_of_audio_becomes_a_batch_of_features():
    frontend = make_frontend()
    audio, lengths = ragged()
    labels = np.ones((4, 3), np.int32)
    index = np.arange(4)
    batch = frontend.batch(AudioBatch(audio, lengths, labels, lengths * 0 + 3, index))
    assert batch.features.shape == (4, audio.shape[1] // 480, 240)
    np.testing.assert_array_equal(batch.feature_lengths, -(-lengths // 480))
    assert batch.labels is labels


def test_features_and_their_integers_are_the_same_closed_over_or_passed():
    """A constant divisor would become a rounded reciprocal, joined with the quantizer's scale."""
    rng = np.random.default_rng(0)
    stats = FeatureStats(
        jnp.asarray(rng.normal(-9, 2, 80), jnp.float32),
        jnp.asarray(rng.uniform(1, 4, 80), jnp.float32),
    )
    frontend = Frontend(FrontendConfig(stack=3, deviation=0.4), stats)
    audio, lengths = ragged()

    def integers(frontend):
        features, _, _ = frontend(audio, lengths, None)
        return jnp.round(features * np.float32(2**11 / 0.3331)).astype(jnp.int32), features

    passed = jax.jit(integers)(frontend)
    closed = jax.jit(functools.partial(integers, frontend))()
    apart = jax.jit(lambda f: jnp.round(f * np.float32(2**11 / 0.3331)))(passed[1])
    np.testing.assert_array_equal(closed[1], passed[1])
    np.testing.assert_array_equal(closed[0], passed[0])
    np.testing.assert_array_equal(passed[0], apart)


def test_wrong_sizes_are_refused_by_flag():
    config = FrontendConfig()
    assert (config.feature_size, config.samples_per_frame, config.frame_ms) == (240, 480, 30.0)
    with pytest.raises(ValueError, match="--chunk_ms"):
        make_frontend()(np.zeros((1, 481), np.float32), np.array([481]))
    with pytest.raises(ValueError, match=r"frontend\.stack=0"):
        FrontendConfig(stack=0)
    with pytest.raises(ValueError, match=r"frontend\.deviation=0"):
        FrontendConfig(deviation=0.0)
    assert FrontendConfig(LogMelConfig(window_ms=20.0), 2).frame_ms == 20.0
