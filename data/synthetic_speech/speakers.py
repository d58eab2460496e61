"""Pseudo-speakers: a synthesizer's voice with its own rate, pitch and vocal tract length."""

import dataclasses
import random
from collections.abc import Sequence

FORMANT_GRID = 40
"""Formant warps are multiples of 1/40, so that resampling ratios stay small."""

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class PseudoSpeaker:
    """A voice and how it is warped.

    Attributes:
      name: unique within the corpus.
      voice: name of a synthesizer's voice.
      speed: speaking rate relative to the voice's own.
      pitch: fundamental frequency relative to the voice's own.
      formant_steps: formant frequencies relative to the voice's own, in units of 1/`FORMANT_GRID`;
        above 40 is a shorter vocal tract.
    """

    name: str
    voice: str
    speed: float
    pitch: float
    formant_steps: int


@dataclasses.dataclass(frozen=True)
class SpeakersConfig:
    """How many pseudo-speakers there are and how far they stray from their voice.

    Attributes:
      train: speakers a voice in the training split.
      validation: speakers a voice in the validation split, heard in no other.
      test: speakers a voice in the test split, heard in no other.
      speed: lowest and highest speaking rate relative to the voice.
      pitch: lowest and highest fundamental frequency relative to the voice.
      formant: lowest and highest formant frequencies relative to the voice.
    """

    train: int = 10
    validation: int = 2
    test: int = 2
    speed: tuple[float, float] = (0.85, 1.2)
    pitch: tuple[float, float] = (0.75, 1.3)
    formant: tuple[float, float] = (0.875, 1.15)


def make_speakers(
    voices: Sequence[str], config: SpeakersConfig, seed: int
) -> dict[str, list[PseudoSpeaker]]:
    """Speakers a split; every voice speaks in every split, every speaker in one.

    Within a voice, speed, pitch and formants are spread evenly over their ranges (a Latin
    hypercube), so a few speakers cover them; which of them are held out is drawn.

    Args:
      voices: names of voices.
      config: numbers and ranges.
      seed: of the draws; a voice's speakers do not depend on what other voices there are.

    Returns:
      split -> its speakers.
    """
    speakers: dict[str, list[PseudoSpeaker]] = {split: [] for split in SPLITS}
    number = config.train + config.validation + config.test
    for voice in voices:
        rng = random.Random(f"{seed}/speakers/{voice}")
        columns = [
            _spread(low, high, number, rng)
            for low, high in (config.speed, config.pitch, config.formant)
        ]
        splits = [split for split in SPLITS for _ in range(getattr(config, split))]
        for i, (split, speed, pitch, formant) in enumerate(zip(splits, *columns, strict=True)):
            speakers[split].append(
                PseudoSpeaker(
                    name=f"{voice}_{i:02d}",
                    voice=voice,
                    speed=round(speed, 3),
                    pitch=round(pitch, 3),
                    formant_steps=round(formant * FORMANT_GRID),
                )
            )
    return speakers


def _spread(low: float, high: float, number: int, rng: random.Random) -> list[float]:
    """One draw from each of `number` equal parts of a range (geometrically), in random order."""
    values = [low * (high / low) ** ((i + rng.random()) / number) for i in range(number)]
    rng.shuffle(values)
    return values
