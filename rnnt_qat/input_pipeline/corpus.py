"""Reader of prepared corpora, used by all pipelines and evaluators.

A corpus is the directory of a tensorflow-datasets (tfds) builder with array_record files, prepared
by ``python -m data.prepare`` and readable without TensorFlow::

    <data_dir>/<name>[/<config>]/<version>/
      features.json dataset_info.json <name>-<split>.array_record-*     # tfds' own files
      index-<split>.jsonl     # one line per record, in order: id, speaker, text, num_samples
      skip_report.json        # excluded recordings, counted by cause
      preparation.json        # sources and options of the preparation

A record is ``{'id': str, 'speaker': str, 'text': str, 'audio': bytes, 'duration_s': float32}``; its
audio is FLAC, 16 kHz mono 16-bit. FLAC takes 55 GB for the 960 h of LibriSpeech, PCM 90 GB, and one
core still decodes about 6,000 seconds of speech per second. Lengths and texts are in the index, so
bucketing and vocabulary building do not decode audio. A packed corpus (``packed_records.py``) has
the same index beside Opus.
"""

import dataclasses
import functools
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import soundfile
from jaxtyping import Int16, Int64

from rnnt_qat.infra.errors import UserError, is_machine_fault
from rnnt_qat.input_pipeline.packed_records import BYTES, PackedRecords, packed_path
from rnnt_qat.input_pipeline.preparation_command import preparation_command

SAMPLE_RATE_HZ = 16_000
"""Sample rate of every prepared corpus."""


LETTERS = " 'abcdefghijklmnopqrstuvwxyz"
"""Characters of a normalised English transcript."""


class CorpusError(UserError):
    """Error for a missing corpus, split or index, or for records that contradict the index."""


CHECKSUM = "sha256"
"""Key in preparation.json of the checksum over its other entries."""


def preparation_checksum(preparation: dict[str, Any]) -> str:
    """Computes the SHA-256 of the entries of preparation.json other than the checksum."""
    others = {key: value for key, value in preparation.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Utterance:
    """A recording and its transcript.

    Attributes:
      id: id, unique within the corpus.
      speaker: name of the speaker, unique within the corpus.
      text: normalised transcript (see ``Corpus.characters``), single-spaced, never empty.
      audio: samples, never empty.
      sample_rate_hz: sample rate of the audio.
    """

    id: str
    speaker: str
    text: str
    audio: Int16[np.ndarray, " N"]
    sample_rate_hz: int = SAMPLE_RATE_HZ

    @property
    def duration_s(self) -> float:
        """Duration of the audio in seconds."""
        return len(self.audio) / self.sample_rate_hz


class Corpus(Sequence[Utterance]):
    """A split of a prepared corpus: random access by position; lengths and texts are in memory.

    The files are opened on first use, and the object pickles as a path, so it can be passed to
    worker processes.

    Attributes:
      directory: tfds directory, including the version.
      split: name of the split.
      language: BCP 47 tag of the language of the transcripts.
      characters: characters that a transcript may contain.
      ids: utterance ids, in the order of the records.
      speakers: speakers, in the order of the records.
      texts: normalised transcripts, in the order of the records.
      num_samples: audio lengths in samples, in the order of the records.
      sample_rate_hz: sample rate of the returned audio.
    """

    def __init__(self, directory: str | Path, split: str, sample_rate_hz: int = SAMPLE_RATE_HZ):
        """Reads the index of `split`.

        Args:
          directory: a prepared tfds directory, including the version.
          split: name of a split.
          sample_rate_hz: sample rate to resample the audio to, at most `SAMPLE_RATE_HZ`.

        Raises:
          CorpusError: the directory has no index of this split, its files are damaged, or the
            sample rate exceeds that of the corpora.
        """
        if not 0 < sample_rate_hz <= SAMPLE_RATE_HZ:
            raise CorpusError(
                f"frontend.log_mel.sample_rate_hz={sample_rate_hz}: corpora are kept at "
                f"{SAMPLE_RATE_HZ} Hz and have no band above {SAMPLE_RATE_HZ // 2} Hz; choose "
                f"{SAMPLE_RATE_HZ} or less"
            )
        self.directory = Path(directory)
        self.split = split
        self.sample_rate_hz = sample_rate_hz
        try:
            content = (self.directory / f"index-{split}.jsonl").read_bytes()
        except FileNotFoundError:
            splits = sorted(p.stem.removeprefix("index-") for p in self.directory.glob("index-*"))
            raise CorpusError(
                f"{self.directory} has no split {split!r}; it has {', '.join(splits) or 'none'}"
            ) from None
        preparation = self.directory / "preparation.json"
        try:
            made = json.loads(preparation.read_text("utf-8")) if preparation.exists() else {}
            if made.get(CHECKSUM, preparation_checksum(made)) != preparation_checksum(made):
                raise ValueError("preparation.json changed since it was written")
            # Corpora prepared before the language was stored are English.
            self.language: str = made.get("language", "en")
            self.characters: str = made.get("characters", LETTERS)
            index = [json.loads(line) for line in content.splitlines()]
            if not index:
                raise ValueError("the index is empty")
            self.ids: list[str] = [row["id"] for row in index]
            self.speakers: list[str] = [row["speaker"] for row in index]
            self.texts: list[str] = [row["text"] for row in index]
            self._recorded: Int64[np.ndarray, " utterances"] = np.array(
                [row["num_samples"] for row in index], np.int64
            )
            self._packed: list[dict[str, Any]] | None = index if BYTES in index[0] else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(
                f"{self.directory}: index or preparation.json of {split} is damaged ({error!r}); "
                "delete the directory and prepare it again"
            ) from error
        up, down = self._ratio
        self.num_samples: Int64[np.ndarray, " utterances"] = -(-self._recorded * up // down)

    @property
    def _ratio(self) -> tuple[int, int]:
        """Ratio of the returned to the recorded sample rate, in lowest terms."""
        divisor = math.gcd(self.sample_rate_hz, SAMPLE_RATE_HZ)
        return self.sample_rate_hz // divisor, SAMPLE_RATE_HZ // divisor

    @property
    def has_audio(self) -> bool:
        """Whether there is audio: a packed split may have transcripts alone."""
        return self._packed is None or packed_path(self.directory, self.split).exists()

    def files(self) -> list[Path]:
        """Returns the files that hold this split: its index and its records."""
        return sorted(self.directory.glob(f"*-{self.split}.*"))

    @functools.cached_property
    def _records(self) -> Any:
        if not self.has_audio:
            raise CorpusError(
                f"{self.directory}: {self.split} was packed without its audio; use it where the "
                "corpus was prepared, or pack it again with a bit rate for this split"
            )
        try:
            if self._packed is not None:
                return PackedRecords(packed_path(self.directory, self.split), self._packed)
            import tensorflow_datasets as tfds  # slow import, not needed for the index

            records = tfds.builder_from_directory(self.directory).as_data_source(self.split)
        except Exception as error:  # array_record raises many error classes
            if is_machine_fault(error) or isinstance(error, PermissionError):
                raise
            raise CorpusError(
                f"{self.directory}: the records of {self.split} cannot be opened ({error}); delete "
                "the directory and prepare it again"
            ) from error
        if len(records) != len(self):
            raise CorpusError(
                f"{self.directory}: {self.split} holds {len(records)} records but its index names "
                f"{len(self)}; delete the directory and prepare it again"
            )
        return records

    def __reduce__(self) -> tuple:
        return Corpus, (self.directory, self.split, self.sample_rate_hz)

    def __repr__(self) -> str:
        hours = self.num_samples.sum() / self.sample_rate_hz / 3600
        return f"Corpus({str(self.directory)!r}, {self.split!r}: {len(self)} utt, {hours:.2f} h)"

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> list[Utterance]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        # Supports negative positions and raises IndexError past the end.
        index = range(len(self))[index]
        try:
            record = self._records[index]
            audio, _ = soundfile.read(io.BytesIO(record["audio"]), dtype="int16")
        except CorpusError:
            raise
        except Exception as error:  # array_record raises many error classes
            if is_machine_fault(error) or isinstance(error, PermissionError):
                raise
            raise CorpusError(
                f"{self.directory}: record {index} of {self.split}, {self.ids[index]!r}, is "
                f"damaged ({error}); delete the directory and prepare it again"
            ) from error
        found = tuple(record[key].decode() for key in ("id", "speaker", "text"))
        expected = (self.ids[index], self.speakers[index], self.texts[index])
        if (*found, len(audio)) != (*expected, self._recorded[index]):
            raise CorpusError(
                f"{self.directory}: record {index} of {self.split} is {found} of {len(audio)} "
                f"samples, its index says {expected} of {self._recorded[index]}; delete the "
                "directory and prepare it again"
            )
        if self.sample_rate_hz != SAMPLE_RATE_HZ:
            # Imported here because it takes a second and most uses need no resampling.
            from scipy.signal import resample_poly

            resampled = resample_poly(audio.astype(np.float32), *self._ratio)
            audio = np.clip(np.rint(resampled), -(2**15), 2**15 - 1).astype(np.int16)
        fields = (self.ids[index], self.speakers[index], self.texts[index], audio)
        return Utterance(*fields, self.sample_rate_hz)


def open_corpus(
    data_dir: str | Path, name: str, split: str, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Corpus:
    """Opens a split of a prepared corpus, in the newest version unless one is named.

    Args:
      data_dir: folder of prepared corpora: the ``--data_dir`` of ``python -m data.prepare``.
      name: ``corpus``, ``corpus/config`` where the corpus has configs, or either with ``/version``:
        ``asterisk_prompts``, ``librispeech/by_speaker``, ``librispeech/by_speaker/1.0.0``.
      split: ``train``, ``validation`` or ``test`` (a corpus may have others, see its README).
      sample_rate_hz: sample rate to resample the audio to: that of the frontend.

    Returns:
      The split: ``len``, ``corpus[i] -> Utterance`` and the index columns ``ids``, ``speakers``,
      ``texts``, ``num_samples``.

    Raises:
      CorpusError: nothing is prepared under this name, or it has no such split; the message gives
        the command that prepares it, or the available configs or splits.
    """
    root = Path(data_dir) / name
    if (root / "features.json").exists():
        return Corpus(root, split, sample_rate_hz)
    versions = [p.parent for p in root.glob("[0-9]*/features.json")]
    if not versions:
        configs = sorted({p.parent.parent.name for p in root.glob("*/[0-9]*/features.json")})
        if configs:
            choices = ", ".join(f"{name}/{config}" for config in configs)
            raise CorpusError(f"{root}: name one of the prepared configs: {choices}")
        raise CorpusError(
            f"no prepared corpus {name!r} in {data_dir}; prepare it with: "
            f"{preparation_command(name, data_dir)} "
            f"(data/{name.split('/')[0]}/README.md says what it needs)"
        )
    newest = max(versions, key=lambda p: [int(n) for n in p.name.split(".")])
    return Corpus(newest, split, sample_rate_hz)
