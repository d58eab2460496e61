import functools
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from data import encoded_shards
from data.audio import Limits, decode_audio
from data.encoded_shards import EncodedShards
from data.encoding import Recording


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(encoded_shards, "SHARD", 4)


@pytest.fixture
def recordings(tmp_path):
    rng, listed = np.random.default_rng(0), []
    for number in range(10):
        path = tmp_path / f"{number}.wav"
        samples = 0.3 * rng.normal(size=8000 + 100 * number)
        soundfile.write(path, [] if number == 6 else samples, 16_000, "PCM_16")
        decode = functools.partial(decode_audio, path)
        listed.append(Recording(str(number), "s", "word", decode))
    return listed


def told(results):
    """Returns the fields of results; errors are compared by what they say."""
    fields = [(r.id, r.speaker, r.text, r.num_samples, r.flac) for r in results]
    return fields, [None if r.error is None else (r.error.cause, r.error.detail) for r in results]


def test_an_interruption_after_any_recording_changes_nothing(small, recordings, tmp_path):
    whole = told(list(EncodedShards(tmp_path / "whole", Limits(), 1).encode("train", recordings)))
    assert sum(error is not None for error in whole[1]) == 1
    for taken in range(11):
        folder = tmp_path / f"cut{taken}"
        begun = EncodedShards(folder, Limits(), 1).encode("train", recordings)
        for _ in range(taken):
            next(begun)
        begun.close()
        shards = EncodedShards(folder, Limits(), 1)
        assert told(list(shards.encode("train", recordings))) == whole
        assert shards.reused == (taken // 4 * 4 if taken < 10 else 10)


def test_a_damaged_shard_and_gaps_are_encoded_anew(small, recordings, tmp_path):
    whole = told(list(EncodedShards(tmp_path / "e", Limits(), 1).encode("train", recordings)))
    first, second, third = sorted((tmp_path / "e").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    shards = EncodedShards(tmp_path / "e", Limits(), 1)
    assert told(list(shards.encode("train", recordings))) == whole
    assert shards.reused == 2
    assert shards.changed == 0
    assert sorted((tmp_path / "e").iterdir()) == [first, second, third]


@pytest.mark.parametrize("change", ["touched", "text", "limits"])
def test_what_changed_in_between_is_noticed(small, recordings, tmp_path, change):
    list(EncodedShards(tmp_path / "e", Limits(), 1).encode("train", recordings))
    limits = Limits()
    if change == "touched":
        os.utime(tmp_path / "5.wav", (1, 1))
    elif change == "text":
        recordings[5] = Recording("5", "s", "other", recordings[5].decode)
    else:
        limits = Limits(max_duration_s=9)
    shards = EncodedShards(tmp_path / "e", limits, 1)
    results = list(shards.encode("train", recordings))
    assert [r.text for r in results][5] == recordings[5].text
    assert (shards.reused, shards.changed) == ((0, 3) if change == "limits" else (6, 1))


SLOW = """
import sys, time
from pathlib import Path
from data import corpus, encoded_shards, encoding
from data.audio import Limits
from data.librispeech.builder import LibriSpeech
from data.librispeech.folder import FolderSource

encoded_shards.SHARD = 2
encode = encoding._encode
def slowly(recordings, limits):
    time.sleep(float(sys.argv[3]))
    return encode(recordings, limits)
encoding._encode, encoding.CHUNK = slowly, 1
LibriSpeech(data_dir=sys.argv[2], source=FolderSource(Path(sys.argv[1])), workers=1).prepare()
"""


def prepare(speech, data_dir, seconds):
    command = [sys.executable, "-c", SLOW, str(speech), str(data_dir), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def content(folder: pathlib.Path):
    """Returns the files as bytes; of record files the records, whose fields have no fixed order."""
    files = {p.name: p.read_bytes() for p in folder.iterdir() if ".array_record" not in p.name}
    records = tfds.builder_from_directory(folder).as_data_source()
    for split, source in records.items():
        files[split] = [{k: np.asarray(v).tobytes() for k, v in r.items()} for r in source]
    return files


@pytest.mark.slow
def test_a_killed_preparation_goes_on_to_the_same_files(miniature, tmp_path):
    whole = prepare(miniature, tmp_path / "whole", 0)
    encoded = tmp_path / "cut/librispeech/by_speaker/encoded.1.0.0"
    for shards in (1, 2):
        killed = prepare(miniature, tmp_path / "cut", 0.3)
        while len(list(encoded.glob("*.shard"))) < shards:
            assert killed.poll() is None, killed.communicate()
            time.sleep(0.01)
        killed.kill()
        killed.communicate()
    last = prepare(miniature, tmp_path / "cut", 0)
    out, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    assert f"{encoded}: 4 recordings were encoded before" in out
    assert not encoded.exists()
    _, err = whole.communicate(timeout=120)
    assert whole.returncode == 0, err
    of_whole, of_cut = (
        content(tmp_path / name / "librispeech/by_speaker/1.0.0") for name in ("whole", "cut")
    )
    assert len(of_whole["train"]) == 8
    assert of_cut == of_whole
