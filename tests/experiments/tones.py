"""A corpus of short tones in LibriSpeech's layout, prepared in a second."""

import pathlib

import numpy as np
import soundfile

from data.librispeech.builder import LibriSpeech
from data.librispeech.folder import FolderSource

RATE_HZ = 16_000


def record(folder: pathlib.Path, speakers=("1", "2", "3"), utterances: int = 6) -> pathlib.Path:
    """Recordings of some speakers and their transcripts, as anyone lays out their own speech."""
    rng = np.random.default_rng(0)
    for speaker in speakers:
        chapter = folder / speaker / "0"
        chapter.mkdir(parents=True)
        lines = []
        for number in range(utterances):
            name = f"{speaker}-0-{number:04d}"
            time = np.arange(int(rng.uniform(0.8, 1.2) * RATE_HZ)) / RATE_HZ
            tone = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 900) * time)
            audio = tone + 0.01 * rng.normal(size=len(time))
            soundfile.write(chapter / f"{name}.flac", (32767 * audio).astype(np.int16), RATE_HZ)
            lines.append(f"{name} {('GO', 'ON', 'GO ON')[number % 3]}\n")
        (chapter / f"{speaker}-0.trans.txt").write_text("".join(lines))
    return folder


def prepare(root: pathlib.Path) -> pathlib.Path:
    """The recordings as a prepared corpus: a speaker each for training, validation and test."""
    LibriSpeech(
        data_dir=root / "corpora",
        source=FolderSource(record(root / "speech")),
        workers=1,
        validation_speakers=["2"],
        test_speakers=["3"],
    ).prepare()
    return root / "corpora"
