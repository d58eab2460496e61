"""The one reader of prepared corpora; every pipeline and evaluator gets its speech here.

A corpus is a tensorflow-datasets (tfds) builder's directory in array_record files, prepared by
``python -m data.prepare`` and readable without TensorFlow::

    <data_dir>/<name>[/<config>]/<version>/
      features.json dataset_info.json <name>-<split>.array_record-*     # tfds' own files
      index-<split>.jsonl     # a line a record, in order: id, speaker, text, num_samples
      skip_report.json        # what was left out, counted by cause
      preparation.json        # what it was made from

A record is ``{'id': str, 'speaker': str, 'text': str, 'audio': bytes, 'duration_s': float32}``; its
audio is FLAC, 16 kHz mono 16-bit. FLAC rather than PCM: LibriSpeech's 960 h take 55 GB, not 90 GB,
and one core still decodes some 6,000 seconds of speech a second. The index answers for lengths and
texts, so bucketing and vocabulary building never decode audio.
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

from rnnt_qat.infra.errors import UserError

SAMPLE_RATE_HZ = 16_000
"""Rate of every prepared corpus, whatever its recordings had."""


LETTERS = " 'abcdefghijklmnopqrstuvwxyz"
"""The characters of a normalised English transcript."""


class CorpusError(UserError):
    """A corpus, split or index that is not there, or audio that its index contradicts."""


CHECKSUM = "sha256"
"""Key of the checksum that preparation.json carries of its other entries."""


def preparation_checksum(preparation: dict[str, Any]) -> str:
    """SHA-256 of what preparation.json holds beside its checksum."""
    others = {key: value for key, value in preparation.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One recording and what was said in it.

    Attributes:
      id: unique within the corpus.
      speaker: who speaks, unique within the corpus.
      text: normalised transcript: words of a-z and apostrophe, one space between, never empty.
      audio: samples, never empty.
      sample_rate_hz: their rate.
    """

    id: str
    speaker: str
    text: str
    audio: Int16[np.ndarray, " N"]
    sample_rate_hz: int = SAMPLE_RATE_HZ

    @property
    def duration_s(self) -> float:
        """Length of the audio in seconds."""
        return len(self.audio) / self.sample_rate_hz


class Corpus(Sequence[Utterance]):
    """One split of a prepared corpus: random access by position, lengths and texts at no cost.

    It opens its files on first use and pickles as a path, so it can be handed to worker processes.

    Attributes:
      directory: the tfds directory, version included.
      split: name of the split.
      language: BCP 47 tag of the transcripts' language.
      characters: those that a transcript may hold.
      ids: utterance ids, in the records' order.
      speakers: speakers, in the records' order.
      texts: normalised transcripts, in the records' order.
      num_samples: lengths of the audio in samples, in the records' order.
      sample_rate_hz: rate that the audio is given at.
    """

    def __init__(self, directory: str | Path, split: str, sample_rate_hz: int = SAMPLE_RATE_HZ):
        """Reads the index of `split`.

        Args:
          directory: a prepared tfds directory, version included.
          split: one of its splits.
          sample_rate_hz: rate to resample the audio to, `SAMPLE_RATE_HZ` at most.

        Raises:
          CorpusError: the directory has no index of such a split, or its files are damaged; or
            corpora hold nothing for the rate's upper band.
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
            # Corpora prepared before they carried a language are English.
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
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(
                f"{self.directory}: index or preparation.json of {split} is damaged ({error!r}); "
                "delete the directory and prepare it again"
            ) from error
        up, down = self._ratio
        self.num_samples: Int64[np.ndarray, " utterances"] = -(-self._recorded * up // down)

    @property
    def _ratio(self) -> tuple[int, int]:
        """Samples given for samples recorded, in lowest terms."""
        divisor = math.gcd(self.sample_rate_hz, SAMPLE_RATE_HZ)
        return self.sample_rate_hz // divisor, SAMPLE_RATE_HZ // divisor

    @functools.cached_property
    def _records(self) -> Any:
        import tensorflow_datasets as tfds  # slow to import, and not needed for the index

        try:
            records = tfds.builder_from_directory(self.directory).as_data_source(self.split)
        except Exception as error:  # array_record's own errors are of many classes
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
        index = range(len(self))[index]  # negative positions, and IndexError past the end
        try:
            record = self._records[index]
            audio, _ = soundfile.read(io.BytesIO(record["audio"]), dtype="int16")
        except CorpusError:
            raise
        except Exception as error:  # array_record's own errors are of many classes
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
            from scipy.signal import resample_poly  # a second to import, and most need none

            resampled = resample_poly(audio.astype(np.float32), *self._ratio)
            audio = np.clip(np.rint(resampled), -(2**15), 2**15 - 1).astype(np.int16)
        fields = (self.ids[index], self.speakers[index], self.texts[index], audio)
        return Utterance(*fields, self.sample_rate_hz)


def open_corpus(
    data_dir: str | Path, name: str, split: str, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Corpus:
    """Opens a split of a prepared corpus, its newest version unless one is named.

    Args:
      data_dir: where corpora are prepared: the ``--data_dir`` of ``python -m data.prepare``.
      name: ``corpus``, ``corpus/config`` where the corpus has configs, or either with ``/version``:
        ``asterisk_prompts``, ``librispeech/by_speaker``, ``librispeech/by_speaker/1.0.0``.
      split: ``train``, ``validation`` or ``test`` (a corpus may have others, see its README).
      sample_rate_hz: rate to resample the audio to: that of the frontend that hears it.

    Returns:
      The split: ``len``, ``corpus[i] -> Utterance`` and the index columns ``ids``, ``speakers``,
      ``texts``, ``num_samples``.

    Raises:
      CorpusError: nothing is prepared under that name, or it has no such split; the message says
        which command prepares it, or which configs or splits there are.
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
            f"python -m data.prepare --corpora={name.split('/')[0]} --data_dir={data_dir} "
            f"(data/{name.split('/')[0]}/README.md says what it needs)"
        )
    newest = max(versions, key=lambda p: [int(n) for n in p.name.split(".")])
    return Corpus(newest, split, sample_rate_hz)
