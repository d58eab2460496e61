"""Held-out phrases: texts on which recorded prompts are tested, excluded from synthetic speech.

``held_out.txt`` holds hashes of every validation and test transcript of `asterisk_prompts`, of its
sentences and of its runs of eight words: everything that its own splits do not share. A corpus
prepared without those recordings is therefore equal to one prepared with them. The file is written
by ``python -m data.synthetic_speech.held_out --data_dir=corpora``, after `asterisk_prompts` is
prepared there.
"""

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path

from absl import app, flags

from data.asterisk_prompts.builder import AsteriskPrompts
from data.asterisk_prompts.transcripts import phrases
from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus

HELD_OUT_PATH = Path(__file__).with_name("held_out.txt")
HELD_OUT_CORPUS = "asterisk_prompts"
HELD_OUT_SPLITS = ("validation", "test")

MIN_CONTAINED_WORDS = 4
"""Minimum length in words of a held-out phrase that no sentence may contain.

Shorter ones, such as "press one", cannot be avoided within a sentence.
"""

_HASH_DIGITS = 16


@dataclasses.dataclass(frozen=True)
class HeldOutPhrases:
    """Hashes of phrases, by their number of words.

    Attributes:
      hashes: number of words -> hashes of the phrases with that many words.
    """

    hashes: dict[int, frozenset[str]]

    @classmethod
    def from_phrases(cls, phrases: Iterable[str]) -> "HeldOutPhrases":
        """Hashes normalised phrases."""
        return cls._grouped((len(phrase.split()), _hash(phrase)) for phrase in phrases)

    @classmethod
    def from_file(cls, path: Path = HELD_OUT_PATH) -> "HeldOutPhrases":
        """Reads a file that `save` wrote."""
        lines = path.read_text("utf-8").splitlines()
        rows = (line.split() for line in lines if not line.startswith("#"))
        return cls._grouped((int(words), phrase_hash) for words, phrase_hash in rows)

    @classmethod
    def _grouped(cls, pairs: Iterable[tuple[int, str]]) -> "HeldOutPhrases":
        hashes: dict[int, set[str]] = {}
        for words, phrase_hash in pairs:
            hashes.setdefault(words, set()).add(phrase_hash)
        return cls({words: frozenset(found) for words, found in sorted(hashes.items())})

    def save(self, path: Path = HELD_OUT_PATH) -> None:
        """Writes one line per phrase: number of words and hash."""
        lines = [
            f"# phrases of {HELD_OUT_CORPUS} kept for {' and '.join(HELD_OUT_SPLITS)}: "
            f"words, first {_HASH_DIGITS} digits of SHA-256 (see held_out.py)"
        ]
        for words, hashes in self.hashes.items():
            lines += [f"{words} {phrase_hash}" for phrase_hash in sorted(hashes)]
        path.write_text("\n".join(lines) + "\n", "utf-8")

    def __len__(self) -> int:
        return sum(len(hashes) for hashes in self.hashes.values())

    def __contains__(self, phrase: str) -> bool:
        return _hash(phrase) in self.hashes.get(len(phrase.split()), ())

    def forbids(self, text: str) -> bool:
        """Returns whether `text` is a held-out phrase or contains one of at least four words."""
        words = text.split()
        if text in self:
            return True
        return any(
            " ".join(words[start : start + length]) in self
            for length in self.hashes
            if MIN_CONTAINED_WORDS <= length <= len(words)
            for start in range(len(words) - length + 1)
        )

    def check_against(self, data_dir: str | Path) -> None:
        """Checks that every held-out transcript of prepared recordings is listed, if there are any.

        Args:
          data_dir: folder of prepared corpora.

        Raises:
          CorpusError: a held-out transcript is not listed.
        """
        if not (Path(data_dir) / HELD_OUT_CORPUS).exists():
            return
        for split in HELD_OUT_SPLITS:
            corpus = open_corpus(data_dir, HELD_OUT_CORPUS, split)
            for utterance_id, text in zip(corpus.ids, corpus.texts, strict=True):
                if text not in self:
                    raise CorpusError(
                        f"{HELD_OUT_PATH} does not list {utterance_id!r}, which "
                        f"{corpus.directory} holds out; write it anew: "
                        f"python -m data.synthetic_speech.held_out --data_dir={data_dir}"
                    )


def held_out_phrases(data_dir: str | Path) -> set[str]:
    """Returns the held-out transcripts and phrases of the recordings prepared in `data_dir`."""
    written = AsteriskPrompts(data_dir=data_dir).read_transcripts()
    found: set[str] = set()
    for split in HELD_OUT_SPLITS:
        corpus = open_corpus(data_dir, HELD_OUT_CORPUS, split)
        found |= set(corpus.texts).union(*(phrases(written[name]) for name in corpus.ids))
    return found


def _hash(phrase: str) -> str:
    return hashlib.sha256(phrase.encode()).hexdigest()[:_HASH_DIGITS]


def main(argv: list[str]) -> None:
    """Writes held_out.txt."""
    del argv
    held_out = HeldOutPhrases.from_phrases(held_out_phrases(flags.FLAGS.data_dir))
    held_out.save()
    print(f"{HELD_OUT_PATH.name}: {len(held_out)} phrases")


if __name__ == "__main__":
    flags.DEFINE_string("data_dir", "corpora", "Where corpora are prepared.")
    app.run(main)
