"""Builder of ``librispeech``; README.md in this folder says what it is."""

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
    """How recordings become splits.

    Attributes:
      subsets: split -> LibriSpeech's own subsets; None splits a bare folder of speakers.
    """

    subsets: Mapping[str, tuple[str, ...]] | None = None


class Source(Protocol):
    """Where LibriSpeech's recordings come from."""

    @property
    def language(self) -> Language:
        """That of the transcripts."""

    def fingerprint(self) -> dict[str, Any]:
        """What tells this source from another, as JSON."""

    def recordings(self, subset: str | None, skip_report: SkipReport) -> Iterable[Recording]:
        """Recordings of one of LibriSpeech's subsets; of everything there is where it is None."""


class LibriSpeech(CorpusBuilder):
    """Read English audio books, in LibriSpeech's own splits or split by speaker."""

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
        """Makes a builder.

        Args:
          data_dir: where corpora are prepared.
          source: `FolderSource` or `TfdsSource`.
          config: ``by_speaker``, ``clean_100`` or ``full_960``.
          name: ``by_speaker`` only: what the corpus is called, ``librispeech/NAME``, so that
            several folders lie beside each other.
          test_speakers: ``by_speaker`` only: who is tested; by default about a fifth of the
            speakers, in the order of a hash of their names; "none" for no test split.
          validation_speakers: likewise, about a fifteenth.
          **options: those of `CorpusBuilder`.
        """
        self._source = source
        self._named = {"test": tuple(test_speakers), "validation": tuple(validation_speakers)}
        options.setdefault("limits", Limits(max_duration_s=36.0))  # LibriSpeech's longest is 35.2 s
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
        """The source's fingerprint and the named speakers."""
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
    """One iterable; a list, whose length gives the progress bar its ETA, if all parts are lists."""
    joined = itertools.chain.from_iterable(parts)
    return list(joined) if all(isinstance(part, list) for part in parts) else joined
