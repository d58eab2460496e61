"""Pseudo-speakers: the voice of a synthesizer with another rate, pitch and vocal tract length."""

import dataclasses
import random
from collections.abc import Sequence

FORMANT_GRID = 40
"""Formant warps are multiples of 1/40, so that the terms of resampling ratios stay small."""

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class PseudoSpeaker:
    """A voice and its warping.

    Attributes:
      name: name, unique within the corpus.
      voice: name of the synthesizer's voice.
      speed: speaking rate relative to the voice.
      pitch: fundamental frequency relative to the voice.
      formant_steps: formant frequencies relative to the voice, in units of 1/`FORMANT_GRID`; above
        40 is a shorter vocal tract.
    """

    name: str
    voice: str
    speed: float
    pitch: float
    formant_steps: int


@dataclasses.dataclass(frozen=True)
class SpeakersConfig:
    """Number of pseudo-speakers, and their ranges around the voice.

    Attributes:
      train: number of training speakers per voice.
      validation: number of validation speakers per voice, in no other split.
      test: number of test speakers per voice, in no other split.
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
    """Creates the speakers of each split; every voice occurs in every split, every speaker in one.

    Within a voice, speed, pitch and formants are spread evenly over their ranges (a Latin
    hypercube), so a few speakers cover them; the assignment to splits is random.

    Args:
      voices: names of voices.
      config: numbers and ranges.
      seed: random seed; the speakers of a voice do not depend on the other voices.

    Returns:
      Split -> its speakers.
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
    """Draws one value from each of `number` parts of a range (geometric), in random order."""
    values = [low * (high / low) ** ((i + rng.random()) / number) for i in range(number)]
    rng.shuffle(values)
    return values
