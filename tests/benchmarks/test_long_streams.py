import dataclasses

import numpy as np
import pytest

from benchmarks.long_streams import RESETS, Reset, groups, hear
from rnnt_qat.decoding.chunk_driver import ChunkDriver
from rnnt_qat.quant.policies import FLOAT32
from tests.experiment import tiny


def test_streams_hold_every_utterance_once_in_order():
    assert groups([3, 4, 2, 9, 1, 1], pause=1, most=8) == [[0, 1], [2], [3], [4, 5]]
    assert groups([5], pause=1, most=2) == [[0]]


@pytest.mark.slow
def test_streams_without_resets_have_the_text_of_recordings_and_clipping_bounds_cells():
    """Two streams side by side that end at different times, in floating point."""
    made = tiny.recognizer()
    recognizer = dataclasses.replace(
        made, policy=FLOAT32, variables={"params": made.variables["params"]}
    )
    streams = [tiny.noise(7.0), tiny.noise(3.0, seed=1)]
    heard = hear(recognizer, streams, RESETS[0])
    driver = ChunkDriver(recognizer.frontend, recognizer.config.evaluation.search.build())
    for stream, text in zip(streams, heard.texts, strict=True):
        audio = (stream / 32768.0).astype(np.float32)[None]
        whole = driver.decode(recognizer.transducer(), audio, np.array([len(stream)]), None)
        tokens = np.asarray(whole.tokens[0, : int(whole.length[0])]).tolist()
        assert text == recognizer.tokenizer.decode(tokens).strip()
        assert text
    assert heard.largest_cells.shape == (4, 1)
    assert heard.segments == 2

    limit = float(heard.largest_cells.max()) / 4
    bounded = hear(recognizer, streams, Reset("clipped", cell_limit=limit))
    assert bounded.largest_cells.max() <= limit * (1 + 1e-6)
