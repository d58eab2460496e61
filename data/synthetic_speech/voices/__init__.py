"""Synthesizers behind one interface, one file each, and the voices by name."""

import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Sequence

from data.synthetic_speech.voices.accents import ACCENTS
from data.synthetic_speech.voices.base import Voice, VoiceError
from data.synthetic_speech.voices.espeak import EspeakVoice
from data.synthetic_speech.voices.flite import FliteVoice
from data.synthetic_speech.voices.kokoro import AMERICAN, BRITISH, KokoroVoice

__all__ = ["VOICES", "Voice", "VoiceError", "VoiceSpec", "load_voice", "named_voices"]


@dataclasses.dataclass(frozen=True)
class VoiceSpec:
    """Loader and speaking rate of a voice.

    Attributes:
      load: creates the voice; raises `VoiceError` if its synthesizer is not installed, and
        `ModuleNotFoundError` if that is a package of an extra.
      seconds_fixed: duration in seconds of an utterance without characters, by linear fit.
      seconds_per_char: seconds per character of the transcript at speed 1, by the same fit.
    """

    load: Callable[[], Voice]
    seconds_fixed: float
    seconds_per_char: float

    def expected_duration_s(self, text: str, speed: float) -> float:
        """Returns the expected duration in seconds of a transcript, without surrounding silence.

        Args:
          text: the transcript.
          speed: speaking rate relative to the voice.
        """
        return (self.seconds_fixed + self.seconds_per_char * spoken_chars(text)) / speed


def spoken_chars(text: str) -> int:
    """Returns the length of a transcript in characters, one letter counting as a word of five."""
    return sum(6 if len(word) == 1 else len(word) + 1 for word in text.split())


def _hibari(british: bool) -> Voice:
    from data.synthetic_speech.voices.hibari import HibariVoice  # needs the extra `data`

    return HibariVoice(british)


def _pico(locale: str) -> Voice:
    from data.synthetic_speech.voices.pico import PicoVoice  # needs the extra `data`

    return PicoVoice(locale)


VOICES: dict[str, VoiceSpec] = {
    "hibari_us": VoiceSpec(functools.partial(_hibari, british=False), 0.04, 0.052),
    "hibari_gb": VoiceSpec(functools.partial(_hibari, british=True), 0.03, 0.054),
    "pico_us": VoiceSpec(functools.partial(_pico, "en-US"), 0.135, 0.063),
    "pico_gb": VoiceSpec(functools.partial(_pico, "en-GB"), 0.095, 0.057),
    "flite_slt": VoiceSpec(functools.partial(FliteVoice, "slt", 168.0), 0.145, 0.055),
    "flite_awb": VoiceSpec(functools.partial(FliteVoice, "awb", 118.0), 0.29, 0.055),
    "espeak_us": VoiceSpec(functools.partial(EspeakVoice, "en-us"), 0.055, 0.056),
    "espeak_gb": VoiceSpec(functools.partial(EspeakVoice, "en-gb"), 0.035, 0.055),
    "espeak_scotland": VoiceSpec(functools.partial(EspeakVoice, "en-gb-scotland"), 0.03, 0.054),
    **{
        f"kokoro_{name}": VoiceSpec(functools.partial(KokoroVoice, name), 0.1, 0.057)
        for name in (*AMERICAN, *BRITISH)
    },
    **{
        f"{accent}_kokoro_{name}": VoiceSpec(
            functools.partial(KokoroVoice, name, accent), 0.1, 0.057
        )
        for accent in ACCENTS
        for name in (*AMERICAN, *BRITISH)
    },
}
"""Voices by name; those of ``kokoro`` also with each foreign accent.

Those of ``hibari`` and ``pico`` are installed by requirements.txt, ``flite`` and ``espeak`` by
Debian's packages of these names, and ``kokoro`` by the extra ``kokoro`` and ``espeak-ng``.
"""


def named_voices(patterns: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of voices with each pattern, as in ``kokoro_*``, in its voices' place.

    A name or pattern that fits no voice stays as it is.
    """
    names: list[str] = []
    for pattern in patterns:
        names += fnmatch.filter(VOICES, pattern) or [pattern]
    return tuple(names)


@functools.cache
def load_voice(name: str) -> Voice:
    """Loads a voice, once per process.

    Raises:
      VoiceError: there is no such voice, or its synthesizer is not installed.
    """
    if name not in VOICES:
        raise VoiceError(f"no voice {name!r}; there are {', '.join(VOICES)}")
    return VOICES[name].load()
