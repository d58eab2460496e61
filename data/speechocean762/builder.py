"""Builder of ``speechocean762``; see README.md in this folder."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data.audio import decode_audio
from data.corpus import CorpusBuilder, Recording
from data.english import number_words
from data.librispeech.folder import FolderSource
from data.skips import Cause, SkipError, SkipReport
from data.speaker_splits import NOBODY, split_recordings
from data.text import transcript
from data.transcript_files import read_lines
from rnnt_qat.input_pipeline.corpus import CorpusError

DIGITS = frozenset(["oh", *(number_words(digit) for digit in range(10))])

VALIDATION_FRACTION = 0.1
"""Fraction of the training speakers of the corpus that is used for validation."""


class SpeechOcean762(CorpusBuilder):
    """Builder of non-native English in the corpus' own splits; half the speakers are children."""

    name = "speechocean762"
    VERSION = tfds.core.Version("1.1.0")
    DESCRIPTION = "speechocean762 (Zhang et al., Interspeech 2021): English by Mandarin speakers."
    HOMEPAGE = "https://www.openslr.org/101"

    def __init__(
        self,
        *,
        data_dir: str | Path,
        folder: Path,
        validation_speakers: Sequence[str] = (),
        **options: Any,
    ):
        """Creates a builder.

        Args:
          data_dir: folder of prepared corpora.
          folder: folder with ``train`` and ``test``, as on openslr or in LibriSpeech's layout.
          validation_speakers: speakers of ``train`` to use for validation; empty selects a tenth,
            in the order of a hash of their names; "none" disables the validation split.
          **options: options of `CorpusBuilder`.
        """
        self._source = FolderSource(folder)
        self._validation_speakers = tuple(validation_speakers)
        super().__init__(data_dir=data_dir, **options)

    def sources(self) -> dict[str, Any]:
        """Returns the fingerprint of the folder and the named speakers."""
        return self._source.fingerprint() | {"validation": self._validation_speakers}

    def list_recordings(self) -> Mapping[str, list[Recording]]:
        """Lists the splits; ``train_digits`` and so on hold the digit strings of each again."""
        train, test = (
            list_part(self._source.folder, part, self.skip_report) for part in ("train", "test")
        )
        heard_twice = {r.speaker for r in train} & {r.speaker for r in test}
        if heard_twice:
            raise CorpusError(f"speakers in train and test: {', '.join(sorted(heard_twice))}")
        validation = self._validation_speakers or _some({r.speaker for r in train})
        splits = split_recordings(train, test=NOBODY, validation=validation) | {"test": test}
        digits = {
            f"{split}_digits": [r for r in recordings if set(r.text.split()) <= DIGITS]
            for split, recordings in splits.items()
        }
        return splits | {split: strings for split, strings in digits.items() if strings}


def list_part(folder: Path, part: str, skip_report: SkipReport) -> list[Recording]:
    """Lists the recordings of ``train`` or ``test``, in the order of their ids.

    Args:
      folder: folder of the corpus.
      part: ``train`` or ``test``: a folder with Kaldi's ``wav.scp``, ``text`` and ``utt2spk``,
        whose paths are relative to ``folder``, or with speakers in LibriSpeech's layout.
      skip_report: counts what is skipped.

    Raises:
      CorpusError: the part does not exist, or one of its three lists is missing.
    """
    lists = folder / part
    if not (lists / "wav.scp").exists():
        return FolderSource(lists).recordings(None, skip_report)
    paths, texts, speakers = (
        _kaldi_table(lists / name, skip_report) for name in ("wav.scp", "text", "utt2spk")
    )
    recordings = []
    for name in sorted(paths.keys() | texts.keys()):
        try:
            if name not in texts:
                raise SkipError(Cause.UNTRANSCRIBED, paths[name])
            if name not in paths:
                raise SkipError(Cause.MISSING_AUDIO, f"no line in {part}/wav.scp")
            if name not in speakers:
                raise SkipError(Cause.NO_SPEAKER, f"no line in {part}/utt2spk")
            text = transcript(texts[name])
        except SkipError as error:
            skip_report.skip(name, error)
            continue
        skip_report.normalise(name, texts[name], text)
        decode = functools.partial(decode_audio, folder / paths[name])
        recordings.append(Recording(name, speakers[name], text, decode))
    return recordings


def _kaldi_table(path: Path, skip_report: SkipReport) -> dict[str, str]:
    """Reads the lines "key value" of a Kaldi list; skips those that cannot be decoded."""
    if not path.exists():
        raise CorpusError(f"{path} is missing: the folder is not openslr 101 unpacked")
    try:
        lines = read_lines(path)
    except SkipError as error:
        raise CorpusError(f"{path}: {error.detail}") from error
    for line, broken in lines:
        if broken:
            skip_report.skip(f"{path.name}: {line[:40]}", broken)
    rows = (line.split(maxsplit=1) for line, broken in lines if line.strip() and not broken)
    return {key: value[0].strip() if value else "" for key, *value in rows}


def _some(speakers: set[str]) -> tuple[str, ...]:
    number = max(1, round(VALIDATION_FRACTION * len(speakers)))
    by_hash = sorted(speakers, key=lambda name: hashlib.sha256(name.encode()).digest())
    return tuple(by_hash[:number])
