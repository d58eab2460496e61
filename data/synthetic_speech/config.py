"""Configuration of a synthetic corpus."""

import dataclasses
import hashlib
import json
from typing import Literal, get_args

from data.synthetic_speech.speakers import SpeakersConfig
from data.synthetic_speech.take import AcousticsConfig
from data.synthetic_speech.voices import VOICES

TextSourceName = Literal["prompts", "digits", "single_digits", "commands", "books"]


@dataclasses.dataclass(frozen=True)
class SyntheticSpeechConfig:
    """A synthetic corpus; its name depends on every field, so no two share a directory.

    Attributes:
      text_source: ``prompts``, ``digits``, ``single_digits`` (a pause after each) or ``commands``
        (grammars), or ``books`` (Moby-Dick).
      hours: hours of training speech, approximately (to a few percent).
      validation_hours: hours of validation speech.
      test_hours: hours of test speech.
      seed: seed of all random choices.
      voices: names in `VOICES`; a name that occurs twice is used twice as often.
      speakers: number of pseudo-speakers per voice, and their ranges.
      acoustics: jitter, rooms, noise, telephone band and level, equal for all splits.
    """

    text_source: TextSourceName = "prompts"
    hours: float = 1.2
    validation_hours: float = 0.08
    test_hours: float = 0.16
    seed: int = 0
    voices: tuple[str, ...] = ("hibari_us", "hibari_us", "pico_us", "pico_gb")
    speakers: SpeakersConfig = dataclasses.field(default_factory=SpeakersConfig)
    acoustics: AcousticsConfig = dataclasses.field(default_factory=AcousticsConfig)

    def __post_init__(self) -> None:
        if self.text_source not in get_args(TextSourceName):
            choices = " or ".join(get_args(TextSourceName))
            raise ValueError(f"text_source is {self.text_source!r}; it may be {choices}")
        for name in ("hours", "validation_hours", "test_hours"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if unknown := [voice for voice in self.voices if voice not in VOICES]:
            raise ValueError(f"no voices {', '.join(unknown)}; there are {', '.join(VOICES)}")
        if not self.voices:
            raise ValueError("voices is empty; name at least one")

    @property
    def name(self) -> str:
        """Source and hours, as in ``prompts_1h``; with a hash if any other field is changed."""
        short = f"{self.text_source}_{self.hours:g}h"
        if self == SyntheticSpeechConfig(text_source=self.text_source, hours=self.hours):
            return short
        fields = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return f"{short}_{hashlib.sha256(fields.encode()).hexdigest()[:8]}"
