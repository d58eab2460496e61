import numpy as np
import pytest

from rnnt_qat.adaptation.bit_errors import flip_bits, flipped
from rnnt_qat.export.thaw import first_difference
from tests.experiment import tiny


def test_bits_flip_as_often_as_they_should_in_each_place():
    weights = np.random.default_rng(1).integers(-127, 128, 200_000).astype(np.int8)
    found = flipped(weights, 0.01, np.random.default_rng(0))
    changed = (weights.view(np.uint8) ^ found.view(np.uint8))[(found > -127) & (weights > -127)]
    by_bit = [np.mean((changed >> bit) & 1) for bit in range(8)]
    assert np.allclose(by_bit, 0.01, atol=0.0012)
    assert found.min() >= -127
    assert np.array_equal(flipped(weights, 0.0, np.random.default_rng(0)), weights)
    # All bits of 0 flip to -1, all of 127 to -128, which reads as -127.
    whole = flipped(np.array([0, 127, -127], np.int8), 1.0, np.random.default_rng(0))
    assert whole.tolist() == [-1, -127, 126]


def test_only_the_weight_memory_is_hit_and_the_seed_decides_where():
    model = tiny.artefact().model
    hit = flip_bits(model, 0.05, seed=3)
    assert first_difference(hit, flip_bits(model, 0.05, seed=3)) == ""
    assert first_difference(hit, flip_bits(model, 0.05, seed=4)) != ""
    for before, after in (
        (model.encoder.layers[0].w_ih, hit.encoder.layers[0].w_ih),
        (model.encoder.layers[0].w_hh, hit.encoder.layers[0].w_hh),
        (model.prediction.embedding, hit.prediction.embedding),
        (model.joint.output.weights, hit.joint.output.weights),
    ):
        assert not np.array_equal(before, after)
    assert np.array_equal(model.encoder.layers[0].bias, hit.encoder.layers[0].bias)
    with pytest.raises(ValueError, match="no probability"):
        flip_bits(model, 1.5, seed=0)
