"""Sound files and pipes in blocks: the samples of the whole, or a reason."""

import errno
import io
import os
import pathlib
import tracemalloc

import av
import numpy as np
import pytest
import soundfile

from data.audio import decode_audio
from data.audio_stream import read_file, read_pipe
from data.skips import SkipError

RATE_HZ = 16_000


def tone(rate_hz=RATE_HZ, seconds=1.3, channels=1):
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    wave = 0.4 * np.sin(2 * np.pi * 300 * t) + 0.1 * np.sin(2 * np.pi * 1234 * t)
    return np.stack([wave * (1 - 0.3 * c) for c in range(channels)], axis=1)


def write(path, rate_hz=RATE_HZ, channels=1, subtype=None):
    soundfile.write(path, tone(rate_hz, channels=channels), rate_hz, subtype=subtype)
    return path


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time and cannot seek."""

    def __init__(self, content, sizes=(1, 1, 3, 1000, 7)):
        self._content, self._sizes, self._calls = content, sizes, 0

    def read(self, size=-1):
        size = min(size, self._sizes[self._calls % len(self._sizes)])
        self._calls += 1
        part, self._content = self._content[:size], self._content[size:]
        return part

    def seekable(self):
        return False


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels", "subtype"),
    [
        ("a.wav", 16_000, 1, None),
        ("a.wav", 44_100, 2, "PCM_24"),
        ("a.wav", 8_000, 1, "FLOAT"),
        ("a.flac", 22_050, 1, None),
        ("a.ogg", 48_000, 2, None),
    ],
)
def test_files_and_pipes_give_the_whole_recordings_samples(
    tmp_path, name, rate_hz, channels, subtype
):
    path = write(tmp_path / name, rate_hz, channels, subtype)
    want = decode_audio(path)
    assert abs(len(want) - 1.3 * RATE_HZ) <= 1
    np.testing.assert_array_equal(np.concatenate(list(read_file(path, RATE_HZ))), want)
    piped = np.concatenate(list(read_pipe(Trickle(path.read_bytes()), RATE_HZ, RATE_HZ)))
    if name == "a.ogg":  # another decoder of a lossy codec
        assert abs(len(piped) - len(want)) < 0.05 * RATE_HZ
    else:
        np.testing.assert_array_equal(piped, want)


@pytest.mark.parametrize("rate_hz", [16_000, 8_000, 11_025])
def test_raw_samples_are_of_the_rate_that_is_stated(tmp_path, rate_hz):
    path = write(tmp_path / "a.wav", rate_hz)
    samples, _ = soundfile.read(path, dtype="int16")
    content = samples.astype("<i2").tobytes() + b"\x01"  # half a sample more
    got = np.concatenate(list(read_pipe(Trickle(content), RATE_HZ, rate_hz)))
    np.testing.assert_array_equal(got, decode_audio(path))


def test_a_wav_header_of_unknown_size_is_read_to_the_end(tmp_path):
    path = write(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"  # as written to a pipe
    got = np.concatenate(list(read_pipe(Trickle(bytes(content)), RATE_HZ, RATE_HZ)))
    np.testing.assert_array_equal(got, decode_audio(path))


def test_m4a_is_read(tmp_path):
    path = tmp_path / "a.m4a"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(44_100).T.astype("f"), "fltp", "mono")
        frame.sample_rate = 44_100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    got = np.concatenate(list(read_file(path, RATE_HZ)))
    assert abs(len(got) - 1.3 * RATE_HZ) < 0.1 * RATE_HZ
    spectrum = np.abs(np.fft.rfft(got))
    assert abs(np.argmax(spectrum) * RATE_HZ / len(got) - 300) < 2


def test_what_is_wrong_is_told_apart(tmp_path):
    def reason(path):
        with pytest.raises(SkipError) as caught:
            list(read_file(path, RATE_HZ))
        return caught.value.detail

    assert reason(tmp_path / "none.wav") == "there is no such file"
    assert reason(tmp_path) == "it is a folder"
    text = tmp_path / "text.wav"
    text.write_text("no audio " * 100)
    assert reason(text).startswith("no audio: Invalid data")
    (tmp_path / "empty.wav").touch()
    assert reason(tmp_path / "empty.wav").startswith("no audio")
    nan = tmp_path / "nan.wav"
    soundfile.write(nan, np.full(100, np.nan), RATE_HZ, subtype="FLOAT")
    assert reason(nan) == "100 samples, the first is 0"
    with pytest.raises(SkipError, match="no audio"):
        list(read_pipe(Trickle(b"RIFF nothing else"), RATE_HZ, RATE_HZ))


def test_what_is_left_of_a_cut_file_comes_before_the_fault(tmp_path):
    path = write(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[: 44 + RATE_HZ])
    blocks = read_file(path, RATE_HZ)
    heard = []
    with pytest.raises(SkipError, match="16044 of 41644 bytes are there"):
        heard.extend(blocks)
    assert sum(map(len, heard)) == RATE_HZ // 2


def test_a_file_without_permission_says_so(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav")

    def refuse(self, *arguments):  # root may read a file of any permissions
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(SkipError, match="no permission"):
        list(read_file(path, RATE_HZ))


def test_a_long_file_is_read_in_constant_memory(tmp_path):
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 22_050, 1) as file:
        for _ in range(120):
            file.write(np.zeros(22_050 * 5, np.float32))  # 10 minutes, 26 MB
    next(read_file(path, RATE_HZ))
    tracemalloc.start()
    total = sum(len(block) for block in read_file(path, RATE_HZ))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 600 * RATE_HZ
    assert peak < 3e6


def test_samples_of_a_live_wav_pipe_are_not_held_back(tmp_path):
    """Half a second of audio in, most of it out, before the pipe goes on."""
    path = write(tmp_path / "a.wav")
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as pipe:
        os.write(write_end, path.read_bytes()[: 44 + RATE_HZ])
        blocks = read_pipe(pipe, RATE_HZ, RATE_HZ)
        heard = 0
        while heard < 0.25 * RATE_HZ:
            heard += len(next(blocks))
        os.close(write_end)
        heard += sum(map(len, blocks))
    assert heard == RATE_HZ // 2
