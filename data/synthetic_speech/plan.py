"""The takes of each split, determined by the configuration before anything is synthesized."""

import collections
import dataclasses
import random

from data.synthetic_speech.config import SyntheticSpeechConfig
from data.synthetic_speech.held_out import HeldOutPhrases
from data.synthetic_speech.sentences import TextSource, split_of
from data.synthetic_speech.speakers import SPLITS, make_speakers
from data.synthetic_speech.take import Take
from rnnt_qat.input_pipeline.corpus import CorpusError

VALIDATION_FRACTION, TEST_FRACTION = 0.05, 0.08
"""Fractions of all sentences that occur only in validation, and only in test."""

_PATIENCE = 20_000
"""Number of consecutive unusable sentences after which a source counts as exhausted."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The takes of each split, and the sentences that were drawn but not used.

    Attributes:
      takes: split -> takes, in order.
      left_out: cause -> number of unused sentences.
    """

    takes: dict[str, list[Take]]
    left_out: dict[str, int]


def make_plan(config: SyntheticSpeechConfig, texts: TextSource, held_out: HeldOutPhrases) -> Plan:
    """Draws sentences and speakers until every split reaches its hours, by the voices' mean rates.

    A hash assigns each sentence to one split, and each speaker belongs to one split. Validation and
    test contain no sentence twice; training repeats a sentence only with another speaker. No split
    contains a sentence that `held_out` forbids.

    Args:
      config: options of the corpus.
      texts: source of sentences.
      held_out: phrases to exclude.

    Raises:
      CorpusError: the source has too few sentences for the hours of a split.
    """
    speakers = make_speakers(tuple(dict.fromkeys(config.voices)), config.speakers, config.seed)
    hours = dict(
        zip(SPLITS, (config.hours, config.validation_hours, config.test_hours), strict=True)
    )
    takes: dict[str, list[Take]] = {}
    left_out: collections.Counter[str] = collections.Counter()
    for split in SPLITS:
        rng = random.Random(f"{config.seed}/plan/{split}")
        of_voice = collections.defaultdict(list)
        for speaker in speakers[split]:
            of_voice[speaker.voice].append(speaker)
        takes[split] = []
        said: set[tuple[str, str]] = set()
        seconds, drawn_in_vain = 0.0, 0
        for sentence in texts.sentences(rng):
            if seconds >= 3600 * hours[split]:
                break
            speaker = rng.choice(of_voice[rng.choice(config.voices)])
            belongs = split_of(sentence.text, VALIDATION_FRACTION, TEST_FRACTION) == split
            once = (sentence.text, speaker.name if split == "train" else "")
            forbidden = belongs and held_out.forbids(sentence.text)
            left_out["says a held-out phrase"] += forbidden
            left_out["said already"] += belongs and once in said
            if not belongs or forbidden or once in said:
                drawn_in_vain += 1
                if drawn_in_vain > _PATIENCE:
                    raise CorpusError(
                        f"{split}: the texts give {seconds / 3600:.2f} h, {hours[split]:g} h are "
                        "asked for; lower that, or take another text_source"
                    )
                continue
            drawn_in_vain = 0
            said.add(once)
            take = Take(sentence, speaker, config.acoustics, config.voices[0], config.seed)
            takes[split].append(take)
            seconds += take.expected_duration_s()
    return Plan(takes, dict(left_out))
