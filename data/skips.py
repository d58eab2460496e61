"""Skipped recordings: every recording that a corpus excludes is reported with its cause."""

import collections
import dataclasses
import enum
import json
from pathlib import Path

MAX_EXAMPLES_SHOWN = 3


class Cause(enum.StrEnum):
    """Cause for which a recording is skipped."""

    UNTRANSCRIBED = "no transcript for the recording"
    MISSING_AUDIO = "no recording for the transcript"
    NOT_SPEECH = "not speech"
    EMPTY_TEXT = "empty transcript"
    ODD_CHARACTERS = "odd characters in the transcript"
    UNREADABLE_TEXT = "transcript in another encoding"
    AMBIGUOUS_NUMBER = "number with several readings"
    UNREADABLE_AUDIO = "unreadable audio"
    TRUNCATED_AUDIO = "truncated audio"
    NON_FINITE = "samples that are not finite"
    DECODER_FAILED = "decoder failed"
    EMPTY_AUDIO = "empty audio"
    SILENT = "silent audio"
    NO_SPEAKER = "speaker unknown"
    EXCLUDED_SPEAKER = "speaker excluded by the config"
    NOT_A_DIGIT = "not a single digit"
    DUPLICATE = "same recording as another"
    DUPLICATE_ID = "id of another recording"
    HIDDEN_FILE = "hidden file"
    BAD_NAME = "file name in another encoding"
    UNREADABLE_FOLDER = "unreadable folder"
    CONTRADICTION = "transcribed in two ways"
    CLIPPED = "clipped audio"
    TOO_LONG = "too long"
    TOO_SHORT_FOR_TEXT = "too short for its transcript"


class SkipError(Exception):
    """Error for an unusable recording; the builder counts it and continues."""

    def __init__(self, cause: Cause, detail: str):
        super().__init__(cause, detail)
        self.cause = cause
        self.detail = detail


@dataclasses.dataclass(frozen=True)
class Skip:
    """A skipped recording.

    Attributes:
      id: id of the recording.
      cause: cause of the skip.
      detail: details of what was found.
    """

    id: str
    cause: Cause
    detail: str


@dataclasses.dataclass
class SplitCount:
    """Size of a split.

    Attributes:
      utterances: number of utterances.
      seconds: duration of the audio in seconds.
      words: number of words of the transcripts.
      speakers: names of the speakers.
    """

    utterances: int = 0
    seconds: float = 0.0
    words: int = 0
    speakers: set[str] = dataclasses.field(default_factory=set)


class SkipReport:
    """Report of the kept utterances of each split and of the skipped recordings.

    Attributes:
      kept: size of each split.
      skips: skipped recordings.
      normalised: number of transcripts changed by more than their case.
      examples: id, written and normalised transcript of the first such transcripts.
    """

    def __init__(self) -> None:
        self.kept: dict[str, SplitCount] = collections.defaultdict(SplitCount)
        self.skips: list[Skip] = []
        self.normalised = 0
        self.examples: list[tuple[str, str, str]] = []

    def keep(self, split: str, speaker: str, text: str, seconds: float) -> None:
        """Counts a kept utterance.

        Args:
          split: split of the utterance.
          speaker: name of the speaker.
          text: normalised transcript.
          seconds: duration of the audio in seconds.
        """
        count = self.kept[split]
        count.utterances += 1
        count.seconds += seconds
        count.words += len(text.split())
        count.speakers.add(speaker)

    def skip(self, recording_id: str, error: SkipError) -> None:
        """Adds a skipped recording."""
        self.skips.append(Skip(recording_id, error.cause, error.detail))

    def normalise(self, recording_id: str, written: str, text: str) -> None:
        """Counts a normalised transcript if more than its case changed."""
        if written.lower() != text:
            self.normalised += 1
            if len(self.examples) < MAX_EXAMPLES_SHOWN:
                self.examples.append((recording_id, written, text))

    def counts(self) -> dict[Cause, int]:
        """Counts the skipped recordings by cause, most frequent first."""
        return dict(collections.Counter(skip.cause for skip in self.skips).most_common())

    def table(self) -> str:
        """Formats the kept, changed and skipped recordings as an aligned text table."""
        lines = [f"{'split':<16}{'utterances':>11}{'hours':>10}{'words':>10}{'speakers':>10}"]
        for split, count in self.kept.items():
            lines.append(
                f"{split:<16}{count.utterances:>11,}{count.seconds / 3600:>10.3f}"
                f"{count.words:>10,}{len(count.speakers):>10,}"
            )
        lines += ["", f"{'left out':<34}{'recordings':>11}  for example"]
        for cause, number in self.counts().items():
            examples = [skip for skip in self.skips if skip.cause == cause][:MAX_EXAMPLES_SHOWN]
            shown = "; ".join(f"{skip.id} ({skip.detail})" for skip in examples)
            lines.append(f"{cause:<34}{number:>11,}  {shown[:120]}")
        if not self.skips:
            lines.append(f"{'nothing':<34}{0:>11}")
        if self.normalised:
            shown = "; ".join(
                f"{utterance_id} {old[:40]!r} -> {new[:40]!r}"
                for utterance_id, old, new in self.examples
            )
            lines += ["", f"{'transcripts normalised':<34}{self.normalised:>11,}  {shown[:120]}"]
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Writes the report as JSON, including every skipped recording."""
        kept = {
            split: dataclasses.asdict(count) | {"speakers": sorted(count.speakers)}
            for split, count in self.kept.items()
        }
        skips = [dataclasses.asdict(skip) for skip in self.skips]
        saved = {"kept": kept, "counts": self.counts(), "skipped": skips}
        if self.normalised:
            saved["normalised"] = {"count": self.normalised, "examples": self.examples}
        path.write_text(json.dumps(saved, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> "SkipReport":
        """Reads a file that `save` wrote."""
        saved = json.loads(path.read_text("utf-8"))
        report = cls()
        for split, count in saved["kept"].items():
            report.kept[split] = SplitCount(**count | {"speakers": set(count["speakers"])})
        report.skips = [Skip(**skip | {"cause": Cause(skip["cause"])}) for skip in saved["skipped"]]
        if "normalised" in saved:
            report.normalised = saved["normalised"]["count"]
            report.examples = [tuple(example) for example in saved["normalised"]["examples"]]
        return report
