"""Base class of the builders: checked records, an index and a skip report from listed recordings.

The builder of a corpus only lists the recordings of each split. This module decodes, checks and
encodes them (in parallel, in bounded memory), writes the records and counts what is skipped.
`rnnt_qat.input_pipeline.corpus` describes and reads the result.
"""

import abc
import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data.audio import Limits
from data.encoded_shards import EncodedShards
from data.encoding import Encoded
from data.encoding import Recording as Recording
from data.languages import ENGLISH, Language
from data.skips import Cause, SkipError, SkipReport
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress
from rnnt_qat.input_pipeline.corpus import (
    CHECKSUM,
    SAMPLE_RATE_HZ,
    CorpusError,
    preparation_checksum,
)


class CorpusBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A tfds builder whose records `rnnt_qat.input_pipeline.corpus.open_corpus` reads.

    A subclass sets ``VERSION`` and ``DESCRIPTION`` (and ``BUILDER_CONFIGS`` if it has configs) and
    lists its recordings and its sources.
    """

    DESCRIPTION: str
    HOMEPAGE: str | None = None
    url_infos: ClassVar[
        dict
    ] = {}  # tfds downloads nothing; its own look-up of checksums fails here

    def __init_subclass__(cls, skip_registration: bool = True, **kwargs: Any):
        # In the registry of tfds our librispeech would hide the one of tfds.
        super().__init_subclass__(skip_registration=skip_registration, **kwargs)

    def __init__(
        self,
        *,
        data_dir: str | Path,
        config: str | tfds.core.BuilderConfig | None = None,
        limits: Limits | None = None,
        workers: int | None = None,
        language: Language = ENGLISH,
    ):
        """Creates a builder without reading any source.

        Args:
          data_dir: folder of prepared corpora.
          config: a config of the corpus; None is the default config.
          limits: quality limits of recordings; None is the default.
          workers: number of decoding processes; None is one per core.
          language: language of the transcripts, which is stored in the prepared corpus.
        """
        self.language = language
        self.limits = limits or Limits()
        self.workers = workers or len(os.sched_getaffinity(0))
        self.skip_report = SkipReport()
        self._num_samples: dict[tuple[str, str], int] = {}  # by split and id
        self._console = Console()
        self._writing = contextlib.ExitStack()
        super().__init__(data_dir=data_dir, config=config, file_format="array_record")

    @abc.abstractmethod
    def list_recordings(self) -> Mapping[str, Iterable[Recording]]:
        """Lists the recordings of each split; counts skipped ones in `self.skip_report`.

        Raises:
          CorpusError: the sources are missing or invalid.
        """

    @abc.abstractmethod
    def sources(self) -> dict[str, Any]:
        """Describes the sources as JSON data; a prepared corpus is reused if they are unchanged."""

    def prepare(self) -> Path:
        """Prepares the corpus if necessary; prints progress and skipped recordings.

        The preparation is atomic: after an interruption the corpus is not considered prepared, and
        the next preparation goes on from the shards that were encoded (``EncodedShards``), with
        the same result. A lock serializes concurrent preparations.

        Returns:
          The prepared directory, including the version.

        Raises:
          CorpusError: sources are missing, a split is empty, or the directory holds the same
            version and config prepared from other sources.
        """
        directory = Path(self.data_dir)
        directory.parent.mkdir(parents=True, exist_ok=True)
        with (directory.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if directory.exists():
                self._check_same_sources(directory)
                self.skip_report = SkipReport.load(directory / "skip_report.json")
                print(f"{directory}: prepared already, reused")
            else:
                for leftover in directory.parent.glob("incomplete.*"):
                    print(f"{leftover}: left by an interrupted preparation, removed")
                    shutil.rmtree(leftover)
                print(f"{directory}: preparing, processes: {self.workers}")
                shards = directory.with_name(f"encoded.{directory.name}")
                self._shards = EncodedShards(shards, self.limits, self.workers)
                tfds.disable_progress_bar()
                try:
                    with tempfile.TemporaryDirectory() as unused:
                        self.download_and_prepare(download_dir=unused)
                except CorpusError as error:
                    if not self.skip_report.skips:
                        raise
                    raise CorpusError(f"{error}\n{self.skip_report.table()}") from error
                self._say_reuse(shards)
                shutil.rmtree(shards)
        print(self.skip_report.table(), flush=True)
        return directory

    def _say_reuse(self, shards: Path) -> None:
        if self._shards.reused:
            print(f"{shards}: {self._shards.reused:,} recordings were encoded before")
        if self._shards.changed:
            print(f"{shards}: {self._shards.changed:,} shards encoded anew, their sources changed")

    def _step(self, title: str, unit: str = "") -> Progress:
        config = f"/{self.builder_config.name}" if self.builder_config else ""
        return Progress(f"{self.name}{config}: {title}", self._console, unit)

    def _log_download_bytes(self) -> None:
        """Suppresses the message of tfds about downloads, which do not happen."""

    _log_download_done = _log_download_bytes

    def _preparation(self) -> dict[str, Any]:
        with self._step("checking sources"):
            sources = self.sources()
        return {
            "sources": sources,
            "limits": dataclasses.asdict(self.limits),
            "language": self.language.code,
            "characters": self.language.characters,
        }

    def _check_same_sources(self, directory: Path) -> None:
        try:
            before = json.loads((directory / "preparation.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            raise CorpusError(
                f"{directory} was not written by data.prepare, or is damaged; delete it or choose "
                "another --data_dir"
            ) from None
        # Corpora prepared before the language was stored are English.
        before = {"language": ENGLISH.code, "characters": ENGLISH.characters} | before
        before.pop(CHECKSUM, None)
        now = json.loads(json.dumps(self._preparation()))
        if before != now:
            raise CorpusError(
                f"{directory} was prepared from {before}, now asked for {now}; delete it or choose "
                "another --data_dir"
            )

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "id": tfds.features.Text(),
                "speaker": tfds.features.Text(),
                "text": tfds.features.Text(),
                # FLAC as bytes: the Audio feature of tfds needs TensorFlow to decode it
                "audio": tfds.features.Tensor(shape=(None,), dtype=np.uint8, encoding="bytes"),
                "duration_s": tfds.features.Scalar(np.float32),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=features,
            homepage=self.HOMEPAGE,
            supervised_keys=("audio", "text"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        del dl_manager  # tfds downloads nothing
        with self._step("listing recordings"):
            listed = self.list_recordings()
        return {
            split: self._generate_examples(split, recordings)
            for split, recordings in listed.items()
        }

    def _generate_examples(
        self, split: str, recordings: Iterable[Recording]
    ) -> Iterator[tuple[str, dict]]:
        self._writing.close()  # of the split before
        total = len(recordings) if isinstance(recordings, Sized) else None
        with self._step(f"encoding {split}", "recordings") as progress:
            encoded = self._shards.encode(split, recordings)
            yield from self._encoded(split, self._timed(split, encoded, total, progress))
        if not self.skip_report.kept[split].utterances:
            raise CorpusError(f"{self.name}: nothing is left for split {split!r}")
        # tfds writes a split when its examples are exhausted.
        self._writing.enter_context(self._step(f"writing {split}"))

    def _timed(
        self, split: str, encoded: Iterable[Encoded], total: int | None, progress: Progress
    ) -> Iterator[Encoded]:
        """Yields encoded recordings, and shows the hours of audio and how many come in an hour.

        Args:
          split: the recordings' split.
          encoded: the recordings.
          total: their number; None if it is unknown.
          progress: shows how many are done and the time left.
        """
        began, before = time.monotonic(), self._shards.reused
        hours = new_hours = 0.0
        reused = before
        for done, item in enumerate(encoded, 1):
            yield item
            length = item.num_samples / SAMPLE_RATE_HZ / 3600
            hours += length
            if reused == (reused := self._shards.reused):
                new_hours += length
            rate = new_hours / max(time.monotonic() - began, 1e-9) * 3600
            note = f"{hours:,.2f} h of audio, {rate:,.0f} h an hour"
            progress.at(done, total, found_done=reused - before, note=note)
        if new_hours:
            self._console.say(
                f"{split}: encoded {new_hours:,.2f} h of audio, {rate:,.0f} h an hour, "
                f"processes: {self.workers}"
            )

    def _encoded(self, split: str, encoded: Iterable[Encoded]) -> Iterator[tuple[str, dict]]:
        """Yields the records of the recordings that are kept, by id, and counts the others."""
        for item in encoded:
            if item.error is not None:
                self.skip_report.skip(item.id, item.error)
                continue
            if (split, item.id) in self._num_samples:  # tfds cannot write two records with one key
                error = SkipError(Cause.DUPLICATE_ID, f"the first in split {split!r} is kept")
                self.skip_report.skip(item.id, error)
                continue
            seconds = item.num_samples / SAMPLE_RATE_HZ
            self.skip_report.keep(split, item.speaker, item.text, seconds)
            self._num_samples[split, item.id] = item.num_samples
            yield (
                item.id,
                {
                    "id": item.id,
                    "speaker": item.speaker,
                    "text": item.text,
                    "audio": np.frombuffer(item.flac, np.uint8),
                    "duration_s": seconds,
                },
            )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        with self._writing:
            super()._download_and_prepare(dl_manager, download_config)
        # Write all files of the reader before tfds renames the temporary directory.
        directory = Path(self.data_dir)
        self.info.write_to_directory(directory)
        for split in self.info.splits:
            self._write_index(directory, split)
        self.skip_report.save(directory / "skip_report.json")
        preparation = json.loads(json.dumps(self._preparation()))
        preparation[CHECKSUM] = preparation_checksum(preparation)
        (directory / "preparation.json").write_text(
            json.dumps(preparation, indent=1) + "\n", "utf-8"
        )

    def _write_index(self, directory: Path, split: str) -> None:
        records = tfds.builder_from_directory(directory).as_data_source(split)
        with (
            (directory / f"index-{split}.jsonl").open("w", encoding="utf-8") as index,
            self._step(f"indexing {split}", "recordings") as progress,
        ):
            for i in progress.each(range(len(records)), len(records)):
                record = records[i]
                row = {key: record[key].decode() for key in ("id", "speaker", "text")}
                row["num_samples"] = self._num_samples[split, row["id"]]
                index.write(json.dumps(row) + "\n")
