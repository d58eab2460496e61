import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.frontend.spec_augment import SpecAugmentConfig, spec_augment

BINS = 40


def augment(config, lengths, num_frames=200, stack=2, seed=0):
    features = jnp.ones((len(lengths), num_frames, BINS * stack))
    run = jax.jit(functools.partial(spec_augment, num_mel_bins=BINS, config=config))
    keys = jax.random.split(jax.random.key(seed), len(lengths))
    return np.asarray(run(keys, features, jnp.array(lengths)))


def test_frequency_masks_have_the_drawn_widths_and_cover_the_whole_stack():
    out = augment(SpecAugmentConfig(1, 10, 0.0, 0, 0.0), [200] * 4000)
    assert (out == out[:, :1]).all(), "a bin is masked in every frame"
    masked = out[:, 0].reshape(-1, 2, BINS) == 0
    np.testing.assert_array_equal(masked[:, 0], masked[:, 1])
    widths = masked[:, 0].sum(1)
    counts = np.bincount(widths, minlength=11)
    assert len(counts) == 11, "never wider than asked"
    # Uniform over 0..10: chi-squared with 10 degrees of freedom, 99.9th percentile 29.6.
    assert ((counts - 4000 / 11) ** 2 / (4000 / 11)).sum() < 29.6
    edges = np.diff(np.pad(masked[:, 0], ((0, 0), (1, 1))).astype(int))
    assert (np.abs(edges).sum(1) <= 2).all(), "one interval"
    starts = np.argmax(edges == 1, axis=1)[widths == 10]
    assert starts.min() == 0
    assert starts.max() == BINS - 10


def test_time_masks_adapt_to_the_length_and_leave_padding_alone():
    lengths = [200] * 1000 + [60] * 1000 + [0] * 10
    out = augment(SpecAugmentConfig(0, 0, 0.02, 20, 0.1), lengths)
    masked = (out == 0).all(-1)
    assert (masked == (out == 0).any(-1)).all(), "a frame is masked in every bin"
    assert not masked[1000:2000, 60:].any()
    assert not masked[2000:].any()
    runs = np.diff(np.pad(masked, ((0, 0), (1, 1))).astype(int), axis=1).clip(0).sum(1)
    assert runs[:1000].max() <= 4 < 20
    assert runs[1000:2000].max() == 1
    assert masked[1000:2000].sum(1).max() == 6
    # One mask, width uniform on 0..6: mean 3, deviation 2; four of mean 10 overlap a little.
    assert abs(masked[1000:2000].sum(1).mean() - 3) < 4 * 2 / np.sqrt(1000)
    assert 35 < masked[:1000].sum(1).mean() < 40


def test_the_cap_bounds_the_number_of_masks():
    out = augment(SpecAugmentConfig(0, 0, 1.0, 2, 0.02), [200] * 200)
    assert (out == 0).all(-1).sum(1).max() <= 2 * 4


def test_rows_and_keys_differ_and_the_same_key_repeats():
    config = SpecAugmentConfig(freq_mask_bins=20)
    one, again, other = (augment(config, [200] * 4, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (one[0] != one[1]).any()


def test_nothing_asked_nothing_changed():
    assert (augment(SpecAugmentConfig(0, 0, 0.0, 0, 0.0), [200, 3]) == 1).all()


def test_impossible_masks_are_refused_by_field():
    with pytest.raises(ValueError, match=r"spec_augment\.time_mask_fraction=2"):
        SpecAugmentConfig(time_mask_fraction=2)
    with pytest.raises(ValueError, match=r"spec_augment\.freq_masks=-1"):
        SpecAugmentConfig(freq_masks=-1)
    with pytest.raises(ValueError, match="freq_mask_bins=41 exceeds 40"):
        augment(SpecAugmentConfig(freq_mask_bins=41), [200])
    with pytest.raises(ValueError, match="not a stack of 7"):
        spec_augment(
            jax.random.split(jax.random.key(0), 1),
            jnp.ones((1, 2, 8)),
            jnp.ones(1, int),
            7,
            SpecAugmentConfig(),
        )
