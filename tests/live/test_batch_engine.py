"""Rows of the batched engine."""

import numpy as np
import pytest

from rnnt_qat.live.batch_engine import Chunk
from tests.live.served import engine


@pytest.mark.slow
def test_an_end_that_becomes_known_after_the_audio_changes_nothing():
    batched = engine(rows=2)
    audio = np.random.default_rng(0).normal(0, 6000, (3, batched.chunk_samples)).astype(np.int16)
    nothing = np.zeros(0, np.int16)
    at_once, later = [], []
    for number, chunk in enumerate(audio):
        first, last = number == 0, number == 2
        heard = batched.step({0: Chunk(chunk, first, last), 1: Chunk(chunk, first, False)})
        at_once += heard[0]
        later += heard[1]
    later += batched.step({1: Chunk(nothing, False, True)})[1]
    assert len(at_once) == 4
    assert later == at_once
    # A stream without audio does not find what was heard before in its row.
    (end,) = batched.step({1: Chunk(nothing, True, True)})[1]
    assert not [label for label, *_ in end.final if label >= 0]
