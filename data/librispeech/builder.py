"""Builder of ``librispeech``; see README.md in this folder."""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import tensorflow_datasets as tfds

from data.audio import Limits
from data.corpus import CorpusBuilder, Recording
from data.languages import Language
from data.skips import SkipReport
from data.speaker_splits import split_recordings
from rnnt_qat.input_pipeline.corpus import CorpusError

BY_SPEAKER = "by_speaker"

_EVALUATION = {
    "validation": ("dev-clean",),
    "validation_other": ("dev-other",),
    "test": ("test-clean",),
    "test_other": ("test-other",),
}


@dataclasses.dataclass(eq=False)
class LibriSpeechConfig(tfds.core.BuilderConfig):
    """Assignment of recordings to splits.

    Attributes:
      subsets: split -> subsets of LibriSpeech; None splits a folder of speakers by speaker.
    """

    subsets: Mapping[str, tuple[str, ...]] | None = None


class Source(Protocol):
    """A source of LibriSpeech's recordings."""

    @property
    def language(self) -> Language:
        """Language of the transcripts."""

    def fingerprint(self) -> dict[str, Any]:
        """Identifies the source, as JSON data."""

    def recordings(self, subset: str | None, skip_report: SkipReport) -> Iterable[Recording]:
        """Returns the recordings of a subset of LibriSpeech.

        Args:
          subset: name of the subset; None for everything.
          skip_report: counts what is skipped.
        """


class LibriSpeech(CorpusBuilder):
    """Builder of read English audio books, in LibriSpeech's own splits or split by speaker."""

    name = "librispeech"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012  (tfds declares it so)
        LibriSpeechConfig(name=BY_SPEAKER, description="A folder of speakers, split by speaker."),
        LibriSpeechConfig(
            name="clean_100",
            description="100 h of clean speech to train on; all dev and test subsets.",
            subsets={"train": ("train-clean-100",), **_EVALUATION},
        ),
        LibriSpeechConfig(
            name="full_960",
            description="All 960 h to train on; all dev and test subsets.",
            subsets={
                "train": ("train-clean-100", "train-clean-360", "train-other-500"),
                **_EVALUATION,
            },
        ),
    ]
    DESCRIPTION = "LibriSpeech (Panayotov et al., ICASSP 2015): read English audio books."
    HOMEPAGE = "https://www.openslr.org/12"

    def __init__(
        self,
        *,
        data_dir: str | Path,
        source: Source,
        config: str = BY_SPEAKER,
        name: str = BY_SPEAKER,
        test_speakers: Sequence[str] = (),
        validation_speakers: Sequence[str] = (),
        **options: Any,
    ):
        """Creates a builder.

        Args:
          data_dir: folder of prepared corpora.
          source: `FolderSource` or `TfdsSource`.
          config: ``by_speaker``, ``clean_100`` or ``full_960``.
          name: for ``by_speaker`` only: the corpus is named ``librispeech/NAME``, so that several
            folders can be prepared.
          test_speakers: for ``by_speaker`` only: test speakers; empty selects about a fifth, in the
            order of a hash of their names; "none" disables the test split.
          validation_speakers: validation speakers, likewise; empty selects about a fifteenth.
          **options: options of `CorpusBuilder`.

        Raises:
          CorpusError: the name is not valid, or not allowed for the config.
        """
        self._source = source
        self._named = {"test": tuple(test_speakers), "validation": tuple(validation_speakers)}
        # the longest recording of LibriSpeech has 35.2 s
        options.setdefault("limits", Limits(max_duration_s=36.0))
        if name != BY_SPEAKER:
            if config != BY_SPEAKER or not re.fullmatch("[a-z][a-z0-9_]*", name):
                raise CorpusError(
                    f"librispeech/{config} cannot be called {name!r}: only by_speaker takes a "
                    "name, of letters, digits and underscores"
                )
            description = "A folder of speakers, split by speaker."
            options["config"] = LibriSpeechConfig(name=name, description=description)
        super().__init__(
            data_dir=data_dir, language=source.language, **{"config": config} | options
        )

    def sources(self) -> dict[str, Any]:
        """Returns the fingerprint of the source and the named speakers."""
        return self._source.fingerprint() | {"speakers": self._named}

    def list_recordings(self) -> Mapping[str, Iterable[Recording]]:
        """Lists the subsets, or splits by speaker; see `CorpusBuilder`."""
        subsets = self.builder_config.subsets
        if subsets is None:
            recordings = self._source.recordings(None, self.skip_report)
            return split_recordings(recordings, **self._named)
        if any(self._named.values()):
            raise CorpusError(
                f"librispeech/{self.builder_config.name} has LibriSpeech's own splits; speakers "
                "can only be named for librispeech/by_speaker"
            )
        return {
            split: _join([self._source.recordings(name, self.skip_report) for name in names])
            for split, names in subsets.items()
        }


def _join(parts: list[Iterable[Recording]]) -> Iterable[Recording]:
    """Concatenates iterables, to a list if all are lists: the progress bar needs its length."""
    joined = itertools.chain.from_iterable(parts)
    return list(joined) if all(isinstance(part, list) for part in parts) else joined
