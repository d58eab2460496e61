import dataclasses
import io
import json

import numpy as np
import pytest
import soundfile

from data.packing import WIDE_BIT_RATE, encode_opus, pack_split
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus
from rnnt_qat.input_pipeline.packed_records import packed_path
from tests.experiments import tones

NAME = "librispeech/by_speaker"


@pytest.fixture(scope="module")
def data_dirs(tmp_path_factory):
    """A prepared corpus, and the same packed: training with audio, the test's transcripts alone."""
    root = tmp_path_factory.mktemp("packing")
    prepared, packed = tones.prepare(root), root / "packed"
    for split, bit_rate in (("train", 24000), ("test", 0)):
        corpus = open_corpus(prepared, NAME, split)
        pack_split(corpus, packed / corpus.directory.relative_to(prepared), bit_rate)
    return prepared, packed


def test_a_packed_split_is_the_prepared_one_but_for_the_codec(data_dirs):
    original, packed = (open_corpus(folder, NAME, "train") for folder in data_dirs)
    assert packed.ids == original.ids
    assert (packed.num_samples == original.num_samples).all()
    assert packed.has_audio
    assert original.has_audio
    for ours, theirs in zip(packed, original, strict=True):
        assert dataclasses.replace(ours, audio=theirs.audio) == theirs
        x, y = (u.audio.astype(np.float64) for u in (ours, theirs))
        assert np.corrcoef(x, y)[0, 1] > 0.9  # a tone with a little noise
    size = packed_path(packed.directory, "train").stat().st_size
    assert size * 8 / (packed.num_samples.sum() / 16_000) < 40_000


def test_a_split_of_transcripts_has_texts_and_says_why_it_has_no_audio(data_dirs):
    original, packed = (open_corpus(folder, NAME, "test") for folder in data_dirs)
    assert packed.texts == original.texts
    assert not packed.has_audio
    with pytest.raises(CorpusError, match="test was packed without its audio"):
        _ = packed[0]


def test_the_preparation_says_how_it_was_packed(data_dirs):
    packed = open_corpus(data_dirs[1], NAME, "train")
    preparation = json.loads((packed.directory / "preparation.json").read_text())
    assert preparation["packed"] == {"train": 24000, "test": 0}
    assert preparation["language"] == "en"


def test_truncated_audio_is_refused(data_dirs, tmp_path):
    corpus = open_corpus(data_dirs[0], NAME, "train")
    pack_split(corpus, tmp_path / NAME / "1.0.0", 8000)
    path = packed_path(tmp_path / NAME / "1.0.0", "train")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorpusError, match="bytes, its index says"):
        _ = open_corpus(tmp_path, NAME, "train")[0]


@pytest.mark.parametrize(("bit_rate", "wide"), [(WIDE_BIT_RATE, True), (8000, False)])
def test_the_whole_band_is_left_from_some_bit_rate_on(bit_rate, wide):
    noise = np.random.default_rng(0).normal(0, 2000, 3 * 16_000).astype(np.int16)
    decoded = soundfile.read(io.BytesIO(encode_opus(noise, bit_rate)), dtype="int16")[0]
    before, after = (
        (np.abs(np.fft.rfft(audio.astype(np.float64))) ** 2)[13_200:].sum()  # above 4.4 kHz
        for audio in (noise, decoded)
    )
    assert (after > 0.2 * before) == wide


@pytest.mark.parametrize("samples", [1, 320, 959, 16_000, 47_123])
def test_opus_has_as_many_samples(samples):
    audio = (3000 * np.sin(np.arange(samples) / 5)).astype(np.int16)
    decoded, rate_hz = soundfile.read(io.BytesIO(encode_opus(audio, 8000)), dtype="int16")
    assert (len(decoded), rate_hz) == (samples, 16_000)
