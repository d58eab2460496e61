"""One recording never stops the others."""

import errno
import functools
import os

import numpy as np
import pytest

from data.audio import Limits
from data.encoding import CHUNK, Recording, encode_all
from data.skips import Cause, SkipError
from tests.data.conftest import tone


def fail(error: Exception) -> np.ndarray:
    raise error


def die() -> np.ndarray:
    os._exit(139)


def recordings(number: int, **faults) -> list[Recording]:
    good = functools.partial(tone, 0.5)
    return [Recording(f"r{i}", "s", "word", faults.get(f"r{i}", good)) for i in range(number)]


def causes(encoded):
    return {item.id: item.error.cause for item in encoded if item.error}


@pytest.mark.parametrize(
    "error", [ValueError("odd"), TypeError("odd"), OSError(errno.EIO, "odd"), KeyError("odd")]
)
def test_whatever_a_decoder_raises_leaves_out_its_recording(error):
    listed = recordings(3, r1=functools.partial(fail, error))
    encoded = list(encode_all(listed, Limits()))
    assert [item.id for item in encoded] == ["r0", "r1", "r2"]
    assert causes(encoded) == {"r1": Cause.DECODER_FAILED}
    assert "odd" in encoded[1].error.detail
    assert type(error).__name__ in encoded[1].error.detail


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "disk full"), MemoryError()])
def test_faults_of_the_machine_are_raised(error):
    with pytest.raises(type(error)):
        list(encode_all(recordings(3, r1=functools.partial(fail, error)), Limits()))


@pytest.mark.slow
def test_a_decoder_that_ends_its_process_leaves_out_its_recording():
    number = 3 * CHUNK
    torn = functools.partial(fail, SkipError(Cause.UNREADABLE_AUDIO, "torn"))
    listed = recordings(number, r1=torn, r20=die)
    encoded = list(encode_all(listed, Limits(), workers=2))
    assert [item.id for item in encoded] == [f"r{i}" for i in range(number)]
    assert causes(encoded) == {"r1": Cause.UNREADABLE_AUDIO, "r20": Cause.DECODER_FAILED}
    alone = list(encode_all(recordings(number, r1=torn), Limits()))
    assert [e.flac for e in encoded if e.id != "r20"] == [e.flac for e in alone if e.id != "r20"]
