"""Files that were cut or damaged, in every container that is read."""

import io
import struct

import numpy as np
import pytest
import soundfile

from data.audio import decode_audio
from data.skips import Cause, SkipError
from tests.data.conftest import RATE_HZ, tone

FORMS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_U8"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAV", "ULAW"),
    ("WAV", "GSM610"),
    ("WAV", "IMA_ADPCM"),
    ("WAVEX", "PCM_16"),
    ("RF64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("NIST", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]
every_form = pytest.mark.parametrize(("form", "subtype"), FORMS)


def encoded(form="WAV", subtype="PCM_16", audio=None, rate_hz=RATE_HZ) -> bytes:
    buffer = io.BytesIO()
    audio = tone(1.0) if audio is None else audio
    if subtype in ("FLOAT", "DOUBLE") and audio.dtype == np.int16:
        audio = audio / 32768
    soundfile.write(buffer, audio, rate_hz, format=form, subtype=subtype)
    return buffer.getvalue()


def cause_of(content: bytes) -> Cause:
    with pytest.raises(SkipError) as raised:
        decode_audio(content)
    return raised.value.cause


@every_form
def test_whole_files_decode(form, subtype):
    audio = decode_audio(encoded(form, subtype))
    assert abs(len(audio) - RATE_HZ) <= 700  # codecs of blocks pad the last one
    best = np.correlate(audio.astype(float), tone(1.0)[800:-800].astype(float)).max()
    energy = np.linalg.norm(audio.astype(float)) * np.linalg.norm(tone(1.0)[800:-800].astype(float))
    assert best / energy > 0.9


@every_form
@pytest.mark.parametrize("part", [0.5, 0.9, -1])
def test_a_cut_file_is_never_taken_for_a_whole_one(form, subtype, part):
    content = encoded(form, subtype)
    end = part if part < 0 else int(part * len(content))
    assert cause_of(content[:end]) in (Cause.TRUNCATED_AUDIO, Cause.UNREADABLE_AUDIO)


@every_form
def test_a_file_that_ends_inside_its_header(form, subtype):
    head = encoded(form, subtype)[:80]
    for length in range(len(head)):
        assert cause_of(head[:length]) in (Cause.TRUNCATED_AUDIO, Cause.UNREADABLE_AUDIO)


def test_a_cut_mp3_without_a_count_of_frames():
    content = encoded("MP3", "MPEG_LAYER_III")
    assert len(decode_audio(content)) == RATE_HZ
    # The first frame holds the Xing header. Without it, libsndfile decodes a fifth of this file.
    bare = content[content.index(b"\xff\xf3", 1) :]
    with pytest.raises(SkipError, match="3340 of 14976 samples decode"):
        decode_audio(bare)
    # Of a constant bit rate, it decodes all.
    frame = bytes((*bare[:2], 0x48, bare[3])) + bytes(140)
    assert len(decode_audio(40 * frame)) >= 36 * 576
    assert cause_of(40 * frame[:-1]) == Cause.UNREADABLE_AUDIO
    assert cause_of((40 * frame)[:-1]) == Cause.TRUNCATED_AUDIO
    assert cause_of(bare[: len(bare) // 2]) == Cause.TRUNCATED_AUDIO
    assert cause_of(bare[: len(bare) // 2] + bytes(range(1, 99))) == Cause.UNREADABLE_AUDIO


def test_an_ogg_page_that_is_missing():
    content = encoded("OGG", "VORBIS", audio=np.tile(tone(1.0), 20))
    pages = [i for i in range(len(content)) if content[i : i + 4] == b"OggS"]
    assert len(pages) > 4
    assert cause_of(content[: pages[3]] + content[pages[4] :]) == Cause.TRUNCATED_AUDIO
    assert cause_of(content[: pages[-1]]) == Cause.TRUNCATED_AUDIO


def test_a_stream_of_unknown_length_is_read_to_its_end():
    content = bytearray(encoded())
    content[40:44] = struct.pack("<I", 0xFFFFFFFF)  # as ffmpeg writes to a pipe
    np.testing.assert_array_equal(decode_audio(bytes(content)), tone(1.0))
    flac = bytearray(encoded("FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    with pytest.raises(SkipError, match="no number of samples"):
        decode_audio(bytes(flac))


@pytest.mark.parametrize(
    ("position", "value"),
    [(24, 8000), (28, 31999), (22, 2)],  # rate, bytes a second, channels (and block size)
)
def test_a_header_that_contradicts_itself(position, value):
    content = bytearray(encoded())
    content[position : position + 2] = struct.pack("<H", value)
    assert cause_of(bytes(content)) == Cause.UNREADABLE_AUDIO


@pytest.mark.parametrize("rate_hz", [1, 2000, 4_000_000])
def test_a_rate_that_is_none(rate_hz):
    content = bytearray(encoded())
    content[24:32] = struct.pack("<II", rate_hz, 2 * rate_hz)
    with pytest.raises(SkipError, match=f"{rate_hz} Hz is not in"):
        decode_audio(bytes(content))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 8000])
def test_samples_that_are_not_finite(value, rate_hz):
    audio = tone(1.0).astype(np.float32) / 32768
    audio[77] = value
    with pytest.raises(SkipError, match="1 samples, the first is 77") as raised:
        decode_audio(encoded("WAV", "FLOAT", audio, rate_hz))
    assert raised.value.cause == Cause.NON_FINITE


def test_floats_on_the_scale_of_16_bit_numbers():
    with pytest.raises(SkipError, match="times full scale"):
        decode_audio(encoded("WAV", "FLOAT", tone(1.0).astype(np.float32)))


def test_silence_without_end_is_not_decoded_whole():
    content = encoded("FLAC", audio=np.zeros(60 * RATE_HZ, np.int16))
    with pytest.raises(SkipError) as raised:
        decode_audio(content, max_seconds=10)
    assert raised.value.cause == Cause.TOO_LONG


def test_another_rate_can_be_asked_for():
    assert len(decode_audio(encoded(), rate_hz=8000)) == 8000
    np.testing.assert_array_equal(
        decode_audio(encoded(audio=tone(1.0, rate_hz=8000), rate_hz=8000), rate_hz=8000),
        tone(1.0, rate_hz=8000),
    )


def test_the_name_does_not_matter_and_folders_are_none(tmp_path):
    for name in ("a.mp3", "a.raw", "a", "a.txt"):
        (tmp_path / name).write_bytes(encoded())
        np.testing.assert_array_equal(decode_audio(tmp_path / name), tone(1.0))
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(SkipError, match="Is a directory"):
        decode_audio(tmp_path / "folder.wav")
    for content in (b"", b"RIFF", b"\xff", b"PK\3\4" + bytes(90), "not audio".encode("utf-16")):
        assert cause_of(content) == Cause.UNREADABLE_AUDIO
