"""One utterance of the corpus: sentence, speaker and acoustics, and its rendering to audio."""

import dataclasses
import functools
import hashlib
import json
import os
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
from jaxtyping import Float32, Int16

from data.skips import Cause, SkipError
from data.synthetic_speech.noise import add_noise, babble, coloured_noise
from data.synthetic_speech.sentences import PAUSE, Sentence
from data.synthetic_speech.speakers import FORMANT_GRID, PseudoSpeaker
from data.synthetic_speech.voices import VOICES, load_voice
from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ
from rnnt_qat.input_pipeline.room import reverberate, room_response, telephone_band

SYNTHESIS_VERSION = 1
"""Part of the key of every take; to be increased if the samples of a take change."""

PAUSE_S = 0.02, 0.4
"""Range of the silence at a `PAUSE` in seconds."""

_FRAME = SAMPLE_RATE_HZ // 100
_SPEECH_FLOOR_DB = -45.0
_PEAK = 0.97


@dataclasses.dataclass(frozen=True)
class AcousticsConfig:
    """Room, noise, channel and level of takes; probabilities are in [0, 1].

    Attributes:
      speed_jitter: largest relative change of a speaker's rate between takes.
      pitch_jitter: largest relative change of a speaker's fundamental frequency between takes.
      silence_s: range of the silence before and after the speech, in seconds.
      room_probability: probability of a room.
      reverberation_s: range of the reverberation time T60, in seconds.
      direct_to_reverberant_db: range of the direct-to-reverberant ratio, in dB.
      noise_probability: probability of noise; a third of it is babble.
      snr_db: range of the signal-to-noise ratio, in dB.
      telephone_probability: probability of the telephone band.
      level_db: range of the RMS of the speech relative to full scale, in dB.
    """

    speed_jitter: float = 0.06
    pitch_jitter: float = 0.05
    silence_s: tuple[float, float] = (0.05, 0.35)
    room_probability: float = 0.35
    reverberation_s: tuple[float, float] = (0.1, 0.45)
    direct_to_reverberant_db: tuple[float, float] = (4.0, 18.0)
    noise_probability: float = 0.5
    snr_db: tuple[float, float] = (12.0, 40.0)
    telephone_probability: float = 0.1
    level_db: tuple[float, float] = (-28.0, -14.0)


@dataclasses.dataclass(frozen=True)
class Take:
    """One utterance to be synthesized; these fields determine all random choices.

    Attributes:
      sentence: the sentence.
      speaker: the speaker.
      acoustics: ranges of the acoustics.
      babble_voice: voice of the talkers in the background.
      seed: seed of the corpus.
    """

    sentence: Sentence
    speaker: PseudoSpeaker
    acoustics: AcousticsConfig
    babble_voice: str
    seed: int

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of everything on which the samples depend."""
        fields = json.dumps([SYNTHESIS_VERSION, dataclasses.asdict(self)], sort_keys=True)
        return hashlib.sha256(fields.encode()).hexdigest()

    def expected_duration_s(self) -> float:
        """Returns the approximate duration in seconds, without the random jitter and silence."""
        speech = VOICES[self.speaker.voice].expected_duration_s(
            self.sentence.text, self.speaker.speed
        )
        return speech + sum(self.acoustics.silence_s)

    def render(self) -> Int16[np.ndarray, "N"]:
        """Synthesizes the take.

        Raises:
          SkipError: the synthesizer returned nothing, or a duration that does not fit the words.
        """
        rng = np.random.default_rng(int(self.key[:32], 16))
        place = self.acoustics
        speech = self._speak(rng)
        level = 10 ** (rng.uniform(*place.level_db) / 20)
        speech *= np.float32(level / np.sqrt(np.mean(speech**2) + 1e-20))
        before, after = (
            int(seconds * SAMPLE_RATE_HZ) for seconds in rng.uniform(*place.silence_s, 2)
        )
        audio = np.pad(speech, (before, after))
        if rng.random() < place.room_probability:
            room = (
                rng.uniform(*place.reverberation_s),
                rng.uniform(*place.direct_to_reverberant_db),
            )
            audio = reverberate(audio, room_response(rng, *room))
        if rng.random() < place.noise_probability:
            snr_db = rng.uniform(*place.snr_db)
            colour = rng.integers(3)
            if colour == 2:
                noise = babble(rng, len(audio), self.babble_voice)
            else:
                noise = coloured_noise(rng, len(audio), float(colour))
            audio = add_noise(audio, noise, snr_db)
        if rng.random() < place.telephone_probability:
            audio = telephone_band(audio)
        audio *= min(1.0, _PEAK / float(np.max(np.abs(audio))))
        return np.rint(audio * 32767.0).astype(np.int16)

    def _speak(self, rng: np.random.Generator) -> Float32[np.ndarray, "N"]:
        """Synthesizes speech at the corpus' rate, trimmed; resampling warps the formants.

        The voice is asked for the inverse change of rate and pitch, to compensate for the
        resampling.
        """
        speaker, place = self.speaker, self.acoustics
        voice = load_voice(speaker.voice)
        warp = speaker.formant_steps / FORMANT_GRID
        speed = speaker.speed * (1 + place.speed_jitter * rng.uniform(-1, 1))
        pitch = speaker.pitch * (1 + place.pitch_jitter * rng.uniform(-1, 1))
        ratio = Fraction(
            SAMPLE_RATE_HZ * FORMANT_GRID, voice.sample_rate_hz * speaker.formant_steps
        )
        parts = []
        for spoken in self.sentence.spoken.split(PAUSE):
            raw = voice.synthesize(
                spoken, speed=speed / warp, pitch=pitch / warp, seed=int(rng.integers(2**31))
            )
            if not np.all(np.isfinite(raw)):
                raise SkipError(Cause.UNREADABLE_AUDIO, f"{speaker.voice} gave non-finite samples")
            audio = scipy.signal.resample_poly(raw, ratio.numerator, ratio.denominator)
            parts.append(trim_silence(audio.astype(np.float32)))
            if not len(parts[-1]):
                raise SkipError(Cause.EMPTY_AUDIO, f"{speaker.voice}: {spoken!r}")
        seconds = sum(map(len, parts)) / SAMPLE_RATE_HZ
        expected = VOICES[speaker.voice].expected_duration_s(self.sentence.text, speed)
        detail = f"{speaker.voice}: {seconds:.2f} s, expected {expected:.2f} s"
        if seconds < 0.45 * expected:
            raise SkipError(Cause.TOO_SHORT_FOR_TEXT, detail)
        if seconds > 2.2 * expected + 0.3:
            raise SkipError(Cause.TOO_LONG, detail)
        audio = parts[0]
        for part in parts[1:]:
            pause = int(rng.uniform(*PAUSE_S) * SAMPLE_RATE_HZ)
            audio = np.concatenate([audio, np.zeros(pause, np.float32), part])
        return audio


def trim_silence(audio: Float32[np.ndarray, "N"]) -> Float32[np.ndarray, "M"]:
    """Removes leading and trailing 10 ms frames that are 45 dB below the loudest frame."""
    frames = audio[: len(audio) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.mean(frames**2, axis=1)
    if not len(power) or not power.max() > 0:
        return audio[:0]
    loud = np.flatnonzero(power > power.max() * 10 ** (_SPEECH_FLOOR_DB / 10))
    return audio[loud[0] * _FRAME : (loud[-1] + 1) * _FRAME]


@dataclasses.dataclass(frozen=True)
class CachedTake:
    """A take whose audio is cached as FLAC under its key; picklable and called without arguments.

    Attributes:
      take: the utterance.
      cache: folder of the cached files.
    """

    take: Take
    cache: Path

    def __call__(self) -> Int16[np.ndarray, "N"]:
        """Returns the samples, from the cache if possible; raises the errors of `Take.render`."""
        path = self.cache / self.take.key[:2] / f"{self.take.key}.flac"
        if path.exists():
            audio, _ = soundfile.read(path, dtype="int16")
            return audio
        audio = self.take.render()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            soundfile.write(part, audio, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
        os.replace(part.name, path)  # atomic, so that a file under a key is complete
        return audio
