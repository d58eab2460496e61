import dataclasses

import jax
import numpy as np
import pytest

from rnnt_qat.experiment.compact import compact
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.quant.quantized_module import QUANT_STATS
from tests.experiment.test_recognizer import recognizer


def drawn(line):
    """Random numbers under a policy, positive ranges."""
    made, rng = recognizer(line), np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: np.abs(rng.standard_normal(leaf.shape)).astype(leaf.dtype), made.variables
    )
    config = dataclasses.replace(made.config, initialize_from="/somewhere/else")
    return dataclasses.replace(made, variables=variables, config=config)


def test_half_the_bytes_and_the_same_numbers_to_eleven_bits(tmp_path):
    whole = drawn("ethos_u_8x8_16")
    whole.save(tmp_path / "whole")
    compact(whole).save(tmp_path / "compact")
    sizes = [(tmp_path / d / "variables.npz").stat().st_size for d in ("whole", "compact")]
    assert sizes[1] < 0.6 * sizes[0]

    read = Recognizer.load(tmp_path / "compact")
    assert read.config.initialize_from == ""
    assert {leaf.dtype for leaf in jax.tree.leaves(read.variables)} == {np.dtype(np.float32)}
    jax.tree.map(
        np.testing.assert_array_equal, read.variables[QUANT_STATS], whole.variables[QUANT_STATS]
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2**-11, atol=2**-25),
        read.variables["params"],
        whole.variables["params"],
    )


def test_what_does_not_fit_is_refused():
    large = drawn("float32")
    large.variables["params"]["joint"] = jax.tree.map(
        lambda leaf: leaf + 1e6, large.variables["params"]["joint"]
    )
    with pytest.raises(ValueError, match="do not fit float16"):
        compact(large)
