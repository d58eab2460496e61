"""What must not be said: sentences that recorded prompts are tested on.

``held_out.txt`` holds a hash of each transcript that `asterisk_prompts` keeps for validation and
test, so a corpus made without those recordings is the same as one made beside them. It is
written by ``python -m data.synthetic_speech.held_out --data_dir=corpora`` after `asterisk_prompts`
is prepared.
"""

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path

from absl import app, flags

from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus

HELD_OUT_PATH = Path(__file__).with_name("held_out.txt")
HELD_OUT_CORPUS = "asterisk_prompts"
HELD_OUT_SPLITS = ("validation", "test")

MIN_CONTAINED_WORDS = 4
"""A sentence may not contain a held-out transcript of so many words either; that it contains
a shorter one ("thank you") cannot be helped."""

_HASH_DIGITS = 16


@dataclasses.dataclass(frozen=True)
class HeldOutTexts:
    """Hashes of transcripts, by their number of words.

    Attributes:
      hashes: number of words -> hashes of the transcripts that have so many.
    """

    hashes: dict[int, frozenset[str]]

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> "HeldOutTexts":
        """Hashes normalised transcripts."""
        hashes: dict[int, set[str]] = {}
        for text in texts:
            hashes.setdefault(len(text.split()), set()).add(_hash(text))
        return cls({words: frozenset(found) for words, found in sorted(hashes.items())})

    @classmethod
    def from_file(cls, path: Path = HELD_OUT_PATH) -> "HeldOutTexts":
        """Reads what `save` wrote."""
        hashes: dict[int, set[str]] = {}
        for line in path.read_text("utf-8").splitlines():
            if not line.startswith("#"):
                words, text_hash = line.split()
                hashes.setdefault(int(words), set()).add(text_hash)
        return cls({words: frozenset(found) for words, found in sorted(hashes.items())})

    def save(self, path: Path = HELD_OUT_PATH) -> None:
        """Writes one line a transcript: number of words, hash."""
        lines = [
            f"# transcripts of {HELD_OUT_CORPUS} kept for {' and '.join(HELD_OUT_SPLITS)}: "
            f"words, first {_HASH_DIGITS} digits of SHA-256 (see held_out.py)"
        ]
        for words, hashes in self.hashes.items():
            lines += [f"{words} {text_hash}" for text_hash in sorted(hashes)]
        path.write_text("\n".join(lines) + "\n", "utf-8")

    def __len__(self) -> int:
        return sum(len(hashes) for hashes in self.hashes.values())

    def forbids(self, text: str) -> bool:
        """True if `text` equals a held-out transcript or contains one of at least four words."""
        words = text.split()
        for length, hashes in self.hashes.items():
            if length > len(words):
                return False
            if length < MIN_CONTAINED_WORDS and length != len(words):
                continue
            for start in range(len(words) - length + 1):
                if _hash(" ".join(words[start : start + length])) in hashes:
                    return True
        return False

    def check_against(self, data_dir: str | Path) -> None:
        """Raises `CorpusError` if the recorded prompts prepared in `data_dir` hold out other texts."""
        if not (Path(data_dir) / HELD_OUT_CORPUS).exists():
            return
        if HeldOutTexts.from_texts(prepared_held_out_texts(data_dir)) != self:
            raise CorpusError(
                f"{HELD_OUT_PATH} does not list the transcripts that {data_dir}/{HELD_OUT_CORPUS} holds "
                f"out; write it anew: python -m data.synthetic_speech.held_out --data_dir={data_dir}"
            )


def prepared_held_out_texts(data_dir: str | Path) -> list[str]:
    """Transcripts of the recorded prompts' held-out splits, as prepared in `data_dir`."""
    return [
        text
        for split in HELD_OUT_SPLITS
        for text in open_corpus(data_dir, HELD_OUT_CORPUS, split).texts
    ]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


if __name__ == "__main__":
    _DATA_DIR = flags.DEFINE_string("data_dir", "corpora", "Where corpora are prepared.")

    def main(argv: list[str]) -> None:
        """Writes held_out.txt."""
        del argv
        texts = HeldOutTexts.from_texts(prepared_held_out_texts(_DATA_DIR.value))
        texts.save()
        print(f"{HELD_OUT_PATH}: {len(texts)} transcripts")

    app.run(main)
