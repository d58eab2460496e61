"""Builder of ``synthetic_speech``; see README.md in this folder."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data.audio import Limits
from data.corpus import CorpusBuilder, Recording
from data.synthetic_speech.books import BookTexts
from data.synthetic_speech.config import SyntheticSpeechConfig
from data.synthetic_speech.grammar import GRAMMARS
from data.synthetic_speech.held_out import HELD_OUT_PATH, HeldOutPhrases
from data.synthetic_speech.plan import make_plan
from data.synthetic_speech.sentences import GrammarTexts, TextSource
from data.synthetic_speech.take import SYNTHESIS_VERSION, CachedTake
from data.synthetic_speech.voices import VoiceError, load_voice
from rnnt_qat.input_pipeline.corpus import CorpusError

DEFAULT_CONFIG = SyntheticSpeechConfig()

# The name of a letter takes as long as a word, but real speech has no "aaa" at this rate.
_LIMITS = Limits(max_chars_per_s=40.0)


class SyntheticSpeech(CorpusBuilder, skip_registration=True):
    """Builder of synthetic English speech of any amount, by many pseudo-speakers."""

    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = "Synthetic English speech: sentences of a grammar, or of a book."

    def __init__(
        self,
        *,
        data_dir: str | Path,
        config: SyntheticSpeechConfig = DEFAULT_CONFIG,
        limits: Limits = _LIMITS,
        **options: Any,
    ):
        """Creates a builder.

        Args:
          data_dir: folder of prepared corpora. Finished utterances are kept in
            ``<data_dir>/cache/synthetic_speech``, so an interrupted preparation continues.
          config: options of the corpus.
          limits: quality limits of utterances.
          **options: options of `CorpusBuilder`.
        """
        self.synthesis = config
        self._cache = Path(data_dir) / "cache" / "synthetic_speech"
        self._downloads = Path(data_dir) / "downloads"
        super().__init__(
            data_dir=data_dir,
            config=tfds.core.BuilderConfig(name=config.name, description=config.name),
            limits=limits,
            **options,
        )

    def sources(self) -> dict[str, Any]:
        """Returns the configuration, version, and checksums of texts and held-out phrases."""
        return {
            "config": dataclasses.asdict(self.synthesis),
            "texts": self._texts().fingerprint(),
            "held_out_sha256": hashlib.sha256(HELD_OUT_PATH.read_bytes()).hexdigest(),
            "synthesis_version": SYNTHESIS_VERSION,
        }

    def list_recordings(self) -> Mapping[str, list[Recording]]:
        """Plans every utterance; the base class synthesizes them where it decodes recordings."""
        held_out = HeldOutPhrases.from_file()
        held_out.check_against(self._downloads.parent)
        try:
            for voice in dict.fromkeys(self.synthesis.voices):
                load_voice(voice)
        except VoiceError as error:
            raise CorpusError(f"voices: {error}") from error
        plan = make_plan(self.synthesis, self._texts(), held_out)
        for cause, number in plan.left_out.items():
            print(f"sentences drawn but left out, {cause}: {number:,}")
        return {
            split: [
                Recording(
                    f"{split}_{i:06d}",
                    take.speaker.name,
                    take.sentence.text,
                    CachedTake(take, self._cache),
                )
                for i, take in enumerate(takes)
            ]
            for split, takes in plan.takes.items()
        }

    def _texts(self) -> TextSource:
        if self.synthesis.text_source == "books":
            return BookTexts(self._downloads)
        return GrammarTexts(GRAMMARS[self.synthesis.text_source])
