"""Transcripts as text: a line a segment, JSON lines, SubRip and WebVTT subtitles."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from rnnt_qat.decoding.words import Word
from rnnt_qat.experiment.transcriber import Transcript


@dataclasses.dataclass(frozen=True)
class Segment:
    """A segment that is over.

    Attributes:
      audio: name of the recording.
      words: all of its words.
      transcript: the last of the segment's transcripts: its limits and alternatives.
    """

    audio: str
    words: tuple[Word, ...]
    transcript: Transcript

    @property
    def text(self) -> str:
        """The words with a space between two."""
        return " ".join(word.text for word in self.words)


class TranscriptFormat(Protocol):
    """Puts the segments of recordings into lines, one by one."""

    def header(self) -> str:
        """What stands before the first segment; empty or whole lines."""

    def segment(self, segment: Segment) -> str:
        """Whole lines for a segment."""


class TextFormat:
    """``AUDIO<tab>words``, and a line for each further reading if alternatives were asked for."""

    def header(self) -> str:
        """Nothing."""
        return ""

    def segment(self, segment: Segment) -> str:
        """One line, then the other readings with their log-probabilities."""
        lines = [f"{segment.audio}\t{segment.text}"]
        for rank, other in enumerate(segment.transcript.alternatives, start=1):
            lines.append(f"{segment.audio}\t#{rank} ({other.log_prob:.2f})\t{other.text}")
        return "\n".join(lines) + "\n"


class JsonLinesFormat:
    """One JSON object a segment."""

    def header(self) -> str:
        """Nothing."""
        return ""

    def segment(self, segment: Segment) -> str:
        """``audio``, ``text``, ``start_s``, ``end_s``, ``words`` and ``alternatives``."""
        transcript = segment.transcript
        record = {
            "audio": segment.audio,
            "text": segment.text,
            "start_s": round(transcript.start_s, 3),
            "end_s": round(transcript.end_s, 3),
            "words": [
                {
                    "text": word.text,
                    "start_s": round(word.start_s, 3),
                    "end_s": round(word.end_s, 3),
                    "confidence": round(word.confidence, 4),
                }
                for word in segment.words
            ],
        }
        if transcript.alternatives:
            record["alternatives"] = [
                {"text": other.text, "log_prob": round(other.log_prob, 4)}
                for other in transcript.alternatives
            ]
        return json.dumps(record, ensure_ascii=False) + "\n"


@dataclasses.dataclass
class SubtitleFormat:
    """Cues of a few words each, timed by the words.

    Attributes:
      separator: between seconds and milliseconds: a comma in SubRip, a point in WebVTT.
      first_lines: what the file begins with.
      max_characters: most characters of a cue.
      max_seconds: longest cue.
      cues: cues written so far.
    """

    separator: str
    first_lines: str = ""
    max_characters: int = 84
    max_seconds: float = 7.0
    cues: int = 0

    def header(self) -> str:
        """``WEBVTT``, or nothing."""
        return self.first_lines

    def segment(self, segment: Segment) -> str:
        """The segment's cues."""
        parts = []
        for words in self._split(segment.words):
            self.cues += 1
            start, end = self._time(words[0].start_s), self._time(words[-1].end_s)
            text = " ".join(word.text for word in words)
            parts.append(f"{self.cues}\n{start} --> {end}\n{text}\n\n")
        return "".join(parts)

    def _split(self, words: Sequence[Word]) -> Iterator[list[Word]]:
        cue: list[Word] = []
        for word in words:
            characters = sum(len(w.text) + 1 for w in cue) + len(word.text)
            too_long = cue and word.end_s - cue[0].start_s > self.max_seconds
            if cue and (characters > self.max_characters or too_long):
                yield cue
                cue = []
            cue.append(word)
        if cue:
            yield cue

    def _time(self, seconds: float) -> str:
        ms = round(1000 * seconds)
        clock = f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}"
        return f"{clock}{self.separator}{ms % 1000:03}"


FORMATS: dict[str, Callable[[], TranscriptFormat]] = {
    "text": TextFormat,
    "jsonl": JsonLinesFormat,
    "srt": lambda: SubtitleFormat(","),
    "vtt": lambda: SubtitleFormat(".", "WEBVTT\n\n"),
}
"""Formats by the name that ``transcribe --format`` takes."""
