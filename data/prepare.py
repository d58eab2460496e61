"""Prepares corpora of speech: downloads or reads recordings, and writes them with an index.

python -m data.prepare --corpora=asterisk_prompts,synthetic_speech --data_dir=corpora
python -m data.prepare --corpora=librispeech --librispeech_dir=speech

The README of each folder of `data/` says what a corpus holds and which licence it has.
"""

import codecs
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast, get_args

from absl import flags

from data.asterisk_prompts.builder import AsteriskPrompts
from data.connected_digits.builder import ConnectedDigits
from data.corpus import CorpusBuilder
from data.data_dir import DATA_DIR
from data.folder_flags import FolderFlags, named_folder
from data.languages import ENGLISH, LANGUAGES
from data.librispeech.builder import BY_SPEAKER, LibriSpeech, Source
from data.librispeech.folder import FolderSource
from data.librispeech.tfds_source import TfdsSource
from data.next_step import next_step
from data.phrases.builder import Phrases
from data.speechocean762.builder import SpeechOcean762
from data.spoken_digits.builder import SpokenDigits
from data.spoken_digits.folder import FolderDigits
from data.spoken_digits.tfds_source import TfdsDigits
from data.synthetic_speech.builder import SyntheticSpeech
from data.synthetic_speech.config import SyntheticSpeechConfig, TextSourceName
from data.synthetic_speech.voices import named_voices
from data.transcript_files import UTF_8
from data.uqm_voices.builder import UqmVoices
from rnnt_qat.infra import program
from rnnt_qat.input_pipeline.corpus import CorpusError

_WORKERS = flags.DEFINE_integer(
    "workers", None, "Processes that decode; one a core by default.", lower_bound=1
)
_ASTERISK_DEBS = flags.DEFINE_string(
    "asterisk_debs", None, "Folder with the two Asterisk packages; by default apt downloads them."
)
_LIBRISPEECH_SOURCE = flags.DEFINE_enum(
    "librispeech_source",
    "folder",
    ["folder", "tfds"],
    "A folder in LibriSpeech's layout, or tfds' own builder, which downloads and needs TensorFlow.",
)
_LIBRISPEECH = FolderFlags.define(
    "librispeech",
    "LibriSpeech",
    folder_help="Folder of speakers (by_speaker), or of train-clean-100 and the like.",
    test_help="Who is tested (by_speaker); by default a fifth; or none.",
    validation_help="Who validates; by default a fifteenth; or none.",
)
_LIBRISPEECH_CONFIG = flags.DEFINE_enum(
    "librispeech_config",
    "by_speaker",
    [config.name for config in LibriSpeech.BUILDER_CONFIGS],
    "Split one folder by speaker, or take LibriSpeech's own splits.",
)
_LIBRISPEECH_NAME = flags.DEFINE_string(
    "librispeech_name",
    BY_SPEAKER,
    "What a folder of speakers is called, librispeech/NAME: several lie beside each other.",
)
_LIBRISPEECH_LANGUAGE = flags.DEFINE_enum(
    "librispeech_language", ENGLISH.code, sorted(LANGUAGES), "Language of the folder's transcripts."
)
_LIBRISPEECH_NORMALISE = flags.DEFINE_bool(
    "librispeech_normalise",
    True,
    "Make words of letters of transcripts with punctuation, accents or numbers (data/text.py says "
    "how); else they are left out.",
)
_LIBRISPEECH_ENCODING = flags.DEFINE_string(
    "librispeech_encoding", UTF_8, "Of transcript files without a byte order mark: latin-1, cp1252."
)
_SYNTHETIC_DEFAULT = SyntheticSpeechConfig()
_SYNTHETIC_HOURS = flags.DEFINE_float(
    "synthetic_hours", _SYNTHETIC_DEFAULT.hours, "Hours of synthetic training speech."
)
_SYNTHETIC_VALIDATION_HOURS = flags.DEFINE_float(
    "synthetic_validation_hours",
    _SYNTHETIC_DEFAULT.validation_hours,
    "Hours of synthetic validation speech.",
)
_SYNTHETIC_TEST_HOURS = flags.DEFINE_float(
    "synthetic_test_hours", _SYNTHETIC_DEFAULT.test_hours, "Hours of synthetic test speech."
)
_SYNTHETIC_TEXTS = flags.DEFINE_enum(
    "synthetic_texts",
    _SYNTHETIC_DEFAULT.text_source,
    get_args(TextSourceName),
    "What is said: telephone prompts, digit strings, digits one by one or commands of a grammar, "
    "or Moby-Dick, which npm downloads.",
)
_SYNTHETIC_VOICES = flags.DEFINE_list(
    "synthetic_voices",
    list(_SYNTHETIC_DEFAULT.voices),
    "Who speaks; twice is twice as often, and kokoro_* is each voice whose name begins so.",
)
_SYNTHETIC_SEED = flags.DEFINE_integer(
    "synthetic_seed", _SYNTHETIC_DEFAULT.seed, "Of everything drawn for synthetic speech."
)
_SPEECHOCEAN762_DIR = flags.DEFINE_string(
    "speechocean762_dir", None, "Folder that holds speechocean762's train and test."
)
_SPEECHOCEAN762_VALIDATION_SPEAKERS = flags.DEFINE_list(
    "speechocean762_validation_speakers", [], "Who of train validates; by default a tenth; or none."
)
_SPOKEN_DIGITS = FolderFlags.define(
    "spoken_digits",
    "the Free Spoken Digit Dataset",
    folder_help="The Free Spoken Digit Dataset: single digits to take or to join.",
    test_help="Whose digits are tested; by default a fifth; or none.",
    validation_help="Whose validate; by default a fifteenth; or none.",
)
_SPOKEN_DIGITS_SOURCE = flags.DEFINE_enum(
    "spoken_digits_source",
    "folder",
    ["folder", "tfds"],
    "The dataset's folder, or tfds' own builder, which downloads it and needs TensorFlow.",
)
_CONNECTED_DIGITS_STRINGS = flags.DEFINE_integer(
    "connected_digits_strings", 300, "Digit strings joined for each speaker.", lower_bound=1
)
_PHRASES = FolderFlags.define(
    "phrases",
    "phrases",
    folder_help="Folder that holds a folder a phrase: wake words, Speech Commands.",
    test_help="Who is tested, where speakers are named; by default a fifth.",
    validation_help="Who validates, where named; by default a fifteenth.",
)
_PHRASES_NAME = flags.DEFINE_string(
    "phrases_name", "phrases", "What that folder's corpus is called: phrases/NAME."
)
_UQM_DEBS = flags.DEFINE_string("uqm_debs", None, "Folder with uqm-voice_*.deb, uqm-content_*.deb.")
_UQM_CONFIG = flags.DEFINE_enum(
    "uqm_config",
    "short",
    [config.name for config in UqmVoices.BUILDER_CONFIGS],
    "Which of the game's clips are kept.",
)


def _asterisk_prompts() -> CorpusBuilder:
    debs = Path(_ASTERISK_DEBS.value) if _ASTERISK_DEBS.value else None
    return AsteriskPrompts(data_dir=DATA_DIR.value, workers=_WORKERS.value, debs=debs)


def _librispeech() -> CorpusBuilder:
    if _LIBRISPEECH_SOURCE.value == "tfds":
        source: Source = TfdsSource(Path(DATA_DIR.value) / "downloads" / "tfds")
    else:
        source = FolderSource(
            named_folder(_LIBRISPEECH.folder, _LIBRISPEECH.contents),
            LANGUAGES[_LIBRISPEECH_LANGUAGE.value],
            _LIBRISPEECH_NORMALISE.value,
            _LIBRISPEECH_ENCODING.value,
        )
    return LibriSpeech(
        data_dir=DATA_DIR.value,
        source=source,
        config=_LIBRISPEECH_CONFIG.value,
        name=_LIBRISPEECH_NAME.value,
        **_LIBRISPEECH.speakers(),
        workers=_WORKERS.value,
    )


def _synthetic_speech() -> CorpusBuilder:
    try:
        config = SyntheticSpeechConfig(
            text_source=cast(TextSourceName, _SYNTHETIC_TEXTS.value),
            hours=_SYNTHETIC_HOURS.value,
            validation_hours=_SYNTHETIC_VALIDATION_HOURS.value,
            test_hours=_SYNTHETIC_TEST_HOURS.value,
            voices=named_voices(_SYNTHETIC_VOICES.value),
            seed=_SYNTHETIC_SEED.value,
        )
    except ValueError as error:
        raise CorpusError(str(error)) from error
    return SyntheticSpeech(data_dir=DATA_DIR.value, config=config, workers=_WORKERS.value)


def _speechocean762() -> CorpusBuilder:
    return SpeechOcean762(
        data_dir=DATA_DIR.value,
        folder=named_folder(_SPEECHOCEAN762_DIR, "speechocean762"),
        validation_speakers=_SPEECHOCEAN762_VALIDATION_SPEAKERS.value,
        workers=_WORKERS.value,
    )


def _digit_source() -> FolderDigits | TfdsDigits:
    if _SPOKEN_DIGITS_SOURCE.value == "tfds":
        return TfdsDigits(Path(DATA_DIR.value) / "downloads" / "tfds")
    return FolderDigits(named_folder(_SPOKEN_DIGITS.folder, _SPOKEN_DIGITS.contents))


def _spoken_digits() -> CorpusBuilder:
    return SpokenDigits(
        data_dir=DATA_DIR.value,
        source=_digit_source(),
        **_SPOKEN_DIGITS.speakers(),
        workers=_WORKERS.value,
    )


def _connected_digits() -> CorpusBuilder:
    return ConnectedDigits(
        data_dir=DATA_DIR.value,
        source=_digit_source(),
        test_speakers=_SPOKEN_DIGITS.test.value,
        validation_speakers=_SPOKEN_DIGITS.validation.value,
        strings=_CONNECTED_DIGITS_STRINGS.value,
        workers=_WORKERS.value,
    )


def _phrases() -> CorpusBuilder:
    return Phrases(
        data_dir=DATA_DIR.value,
        name=_PHRASES_NAME.value,
        **_PHRASES.arguments(),
        workers=_WORKERS.value,
    )


def _uqm_voices() -> CorpusBuilder:
    if not _UQM_DEBS.value:
        raise CorpusError(
            "name the folder that holds uqm-voice_*.deb and uqm-content_*.deb with --uqm_debs; "
            "data/uqm_voices/README.md says how to get them"
        )
    return UqmVoices(
        data_dir=DATA_DIR.value,
        debs=Path(_UQM_DEBS.value),
        config=_UQM_CONFIG.value,
        workers=_WORKERS.value,
    )


BUILDERS: dict[str, Callable[[], CorpusBuilder]] = {
    "asterisk_prompts": _asterisk_prompts,
    "connected_digits": _connected_digits,
    "librispeech": _librispeech,
    "phrases": _phrases,
    "speechocean762": _speechocean762,
    "spoken_digits": _spoken_digits,
    "synthetic_speech": _synthetic_speech,
    "uqm_voices": _uqm_voices,
}


def _is_encoding(name: str) -> bool:
    try:
        return bool(codecs.lookup(name))
    except LookupError:
        return False


_CORPORA = flags.DEFINE_list(
    "corpora", None, f"Corpora to prepare, by comma: {', '.join(sorted(BUILDERS))}.", required=True
)
flags.register_validator(
    _LIBRISPEECH_ENCODING, _is_encoding, "no such encoding; Python's are e.g. utf-8, cp1252"
)
flags.register_validator(
    _CORPORA,
    lambda names: {name for name in names or () if name.strip()} <= BUILDERS.keys(),
    f"unknown corpus; there are: {', '.join(sorted(BUILDERS))}",
)


def main() -> None:
    """Prepares each corpus of the flag ``--corpora``, and names the command that reads them."""
    builders = []
    for name in _CORPORA.value:
        try:
            builders.append(BUILDERS[name]())
            builders[-1].prepare()
        except CorpusError as error:
            raise CorpusError(f"{name}: {error}") from error
    if line := next_step(builders):
        print(line, flush=True)


def _groups(own: Sequence[flags.Flag]) -> dict[str, list[flags.Flag]]:
    """Returns the flags by the corpus that they belong to, for the help."""
    groups = {"All corpora": [flags.FLAGS["data_dir"]]}
    for flag in own:
        of = [name for name in BUILDERS if flag.name.startswith(name.split("_")[0] + "_")]
        groups.setdefault(of[0] if of else "All corpora", []).append(flag)
    return groups


run = functools.partial(program.run, groups=_groups)

if __name__ == "__main__":
    run(main)
