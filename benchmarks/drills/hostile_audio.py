"""Hostile sound files: every container whole, renamed, cut, damaged, with samples that are none."""

import io
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.drills.hostile import Drill, TakenSilentlyError, damage
from data.audio import Limits, decode_audio
from data.skips import Cause, SkipError

_PCM = ("PCM_16", "PCM_24", "PCM_32")
FORMS = (
    *(("WAV", subtype) for subtype in (*_PCM, "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("WAV", subtype) for subtype in ("GSM610", "IMA_ADPCM", "MS_ADPCM", "G721_32")),
    *(("WAVEX", subtype) for subtype in (*_PCM, "FLOAT")),
    *(("RF64", subtype) for subtype in (*_PCM, "FLOAT")),
    *(("AIFF", subtype) for subtype in (*_PCM, "FLOAT")),
    *(("AU", subtype) for subtype in (*_PCM, "FLOAT", "ULAW")),
    *(("NIST", subtype) for subtype in ("PCM_16", "ULAW")),
    *(("FLAC", subtype) for subtype in ("PCM_S8", "PCM_16", "PCM_24")),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
)
MONO = ("GSM610", "G721_32")
ANY_RATES_HZ = (8000, 11025, 16000, 22050, 44100, 48000)
CODEC_RATES_HZ = {"OPUS": (8000, 16000, 48000), "GSM610": (8000,), "G721_32": (8000,)}
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".raw", ".txt", ".g722", "", ".WAV")
PADDING_S = 0.2
"""What codecs of blocks may add."""


def check(rng: np.random.Generator, folder: Path) -> None:
    """Makes a sound file, does one hostile thing to it, and decodes it."""
    form, subtype = FORMS[rng.integers(len(FORMS))]
    rate_hz = int(rng.choice(CODEC_RATES_HZ.get(subtype, ANY_RATES_HZ)))
    seconds = float(rng.uniform(0.2, 0.8))
    channels = 1 if subtype in MONO else int(rng.integers(1, 3))
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 900) * time_s)
    samples = np.repeat(tone[:, None], channels, 1)
    whole = _encode(samples, rate_hz, form, subtype)
    kind = str(rng.choice(["whole", "cut", "damaged", "noise", "samples", "nothing", "longer"]))
    if kind == "samples" and subtype not in ("FLOAT", "DOUBLE"):
        kind = "cut"

    if kind in ("whole", "longer"):
        path = folder / f"x{SUFFIXES[rng.integers(len(SUFFIXES))]}"
        path.write_bytes(whole)
        if kind == "longer" and form in ("WAV", "WAVEX"):  # a chunk after the audio
            path.write_bytes(whole + b"LIST" + (8).to_bytes(4, "little") + rng.bytes(8))
        _require_right(decode_audio(path), seconds, tone, rate_hz, f"{form} {subtype}")
        return
    if kind == "cut":
        content = whole[: int(rng.integers(0, len(whole)))]
    elif kind == "noise":
        content = whole[:4] * int(rng.integers(2)) + rng.bytes(int(rng.integers(1, 5000)))
    elif kind == "nothing":
        content = _encode(samples[:0], rate_hz, form, subtype)
    elif kind == "samples":
        bad = samples.copy()
        bad[rng.integers(len(bad))] = rng.choice([np.nan, np.inf, -np.inf, 1e30, 32767.0])
        content = _encode(bad, rate_hz, form, subtype)
    else:
        content = damage(rng, whole)
    audio = decode_audio(content)
    Limits(max_duration_s=60.0).check(audio, "a")
    if kind != "damaged":
        raise TakenSilentlyError(f"{kind} {form} {subtype}: {len(audio)} samples were taken")
    # A damaged byte of PCM is another sample, and of a rate another rate; nothing else can tell.
    if len(audio) > 16_000 * 60 or audio.dtype != np.int16:
        raise TakenSilentlyError(f"{form} {subtype}: {len(audio)} samples of {audio.dtype}")


def _encode(samples: np.ndarray, rate_hz: int, form: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, samples, rate_hz, format=form, subtype=subtype)
    except soundfile.SoundFileError as error:  # an Ogg file without a sample
        raise SkipError(Cause.EMPTY_AUDIO, f"cannot be written: {error}") from error
    return buffer.getvalue()


def _require_right(
    audio: np.ndarray, seconds: float, tone: np.ndarray, rate_hz: int, what: str
) -> None:
    """The level and length of what was written, up to a codec's delay and padding."""
    if not -0.01 < len(audio) / 16_000 - seconds < PADDING_S:
        raise TakenSilentlyError(f"{what} of {seconds:.3f} s decodes to {len(audio)} samples")
    middle = audio[len(audio) // 3 : 2 * len(audio) // 3] / 32768
    level, expected = np.sqrt(np.mean(middle**2)), np.sqrt(np.mean(tone**2))
    if not 0.7 < level / expected < 1.4:
        raise TakenSilentlyError(f"{what} at {rate_hz} Hz: level {level:.3f}, not {expected:.3f}")


DRILL = Drill("sound files", check, share=0.4)
