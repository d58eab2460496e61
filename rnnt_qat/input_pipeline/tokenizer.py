"""Between transcripts and labels: characters, or SentencePiece units.

Label 0 is the transducer's blank and stands for no text. A tokenizer is one file: ``*.json`` for
characters, ``*.model`` for SentencePiece.
"""

import io
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Protocol

import sentencepiece

from rnnt_qat.infra.errors import UserError
from rnnt_qat.input_pipeline.corpus import LETTERS as LETTERS
from rnnt_qat.typing import BLANK_ID


class TokenizerError(UserError, ValueError):
    """A transcript that cannot be spelled, a label that is none, or a file that is no tokenizer."""


class Tokenizer(Protocol):
    """A reversible spelling of normalised transcripts."""

    @property
    def vocab_size(self) -> int:
        """V: labels, the blank included."""

    def encode(self, text: str) -> list[int]:
        """Labels in [1, V); TokenizerError if the text is empty or has unknown characters."""

    def piece(self, label: int) -> str:
        """Text of one label, a space where a word starts; TokenizerError unless it is in [1, V)."""

    def decode(self, labels: Iterable[int]) -> str:
        """Transcript of labels in [1, V), no space around it."""

    def save(self, path: str | Path) -> None:
        """Writes the file that :func:`load_tokenizer` reads."""


class CharacterTokenizer:
    """One label a character, from 1 in the order given."""

    def __init__(self, characters: str = LETTERS):
        """Raises TokenizerError if there is none, one repeats, or one is odd white space."""
        if (
            not isinstance(characters, str)
            or not characters
            or len(set(characters)) != len(characters)
        ):
            raise TokenizerError(f"characters must be distinct and not empty: {characters!r}")
        if odd := [c for c in characters if c.isspace() and c != " "]:
            raise TokenizerError(f"a space is all that may part words, not {odd}")
        self.characters = characters
        self._label = {character: i for i, character in enumerate(characters, start=1)}

    @property
    def vocab_size(self) -> int:
        """V: characters and the blank."""
        return len(self.characters) + 1

    def encode(self, text: str) -> list[int]:
        """Labels in [1, V) of a transcript."""
        _check_transcript(text, self._label)
        return [self._label[character] for character in text]

    def piece(self, label: int) -> str:
        """The label's character."""
        _check_label(label, self.vocab_size)
        return self.characters[label - 1]

    def decode(self, labels: Iterable[int]) -> str:
        """Transcript of labels in [1, V)."""
        return "".join(self.piece(label) for label in labels).strip()

    def save(self, path: str | Path) -> None:
        """Writes ``{"characters": ...}``."""
        _check_suffix(path, ".json")
        Path(path).write_text(json.dumps({"characters": self.characters}) + "\n", "utf-8")


class SentencePieceTokenizer:
    """SentencePiece units; the model's unknown unit, id 0, gives its place to the blank.

    Reference: Kudo 2018, "Subword regularization" (arXiv 1804.10959), section 3.2 (unigram model).
    """

    def __init__(self, model: bytes):
        """Raises TokenizerError unless ``model`` has the unknown unit at 0 and no control units."""
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise TokenizerError(f"not a SentencePiece model: {error}") from error
        special = [self._processor.unk_id(), self._processor.bos_id(), self._processor.eos_id()]
        if [*special, self._processor.pad_id()] != [BLANK_ID, -1, -1, -1]:
            raise TokenizerError(
                "the SentencePiece model needs unk_id=0 and no bos, eos or pad: "
                "train it with `python -m experiments.train_tokenizer`"
            )
        if any(self._processor.IsByte(i) for i in range(self.vocab_size)):
            raise TokenizerError(
                "the SentencePiece model has byte fallback: a byte is no text, so labels could not "
                "be read back one by one; train it without byte_fallback"
            )
        pieces = (self._processor.IdToPiece(i) for i in range(1, self.vocab_size))
        self._characters = frozenset("".join(pieces).replace("▁", " "))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "SentencePieceTokenizer":
        """A unigram model of ``vocab_size`` labels, blank included; same texts, same model."""
        texts = list(texts)
        if not texts:
            raise TokenizerError("no transcripts to train a SentencePiece model on")
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=iter(texts),
                model_writer=model,
                vocab_size=vocab_size,
                model_type="unigram",
                character_coverage=1.0,
                unk_id=BLANK_ID,
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                normalization_rule_name="identity",
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = str(error).split("] ")[-1]  # after the C++ file, line and condition
            raise TokenizerError(
                f"no SentencePiece model of --vocab_size={vocab_size} from these texts: {reason}"
            ) from error
        return cls(model.getvalue())

    @property
    def vocab_size(self) -> int:
        """V: units and the blank."""
        return self._processor.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Labels in [1, V) of a transcript."""
        _check_transcript(text, self._characters)
        labels = self._processor.EncodeAsIds(text)
        if BLANK_ID in labels or self.decode(labels) != text.strip():
            raise TokenizerError(
                f"transcript {text!r} is not read back from its labels; the SentencePiece model "
                "must be trained with normalization_rule_name=identity, and spaces be single"
            )
        return labels

    def piece(self, label: int) -> str:
        """The label's unit, a space where a word starts."""
        _check_label(label, self.vocab_size)
        return self._processor.IdToPiece(label).replace("▁", " ")

    def decode(self, labels: Iterable[int]) -> str:
        """Transcript of labels in [1, V)."""
        return "".join(self.piece(label) for label in labels).strip()

    def save(self, path: str | Path) -> None:
        """Writes the SentencePiece model."""
        _check_suffix(path, ".model")
        Path(path).write_bytes(self._model)


def load_tokenizer(path: str | Path) -> CharacterTokenizer | SentencePieceTokenizer:
    """The tokenizer of a file, characters (``.json``) or SentencePiece (``.model``)."""
    path = Path(path)
    try:
        if path.suffix == ".model":
            return SentencePieceTokenizer(path.read_bytes())
        _check_suffix(path, ".json")
        return CharacterTokenizer(json.loads(path.read_text("utf-8"))["characters"])
    except FileNotFoundError:
        raise TokenizerError(
            f"{path} does not exist: train it with `python -m experiments.train_tokenizer`"
        ) from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise TokenizerError(f"{path}: {error}") from error


def _check_transcript(text: str, known: Collection[str]) -> None:
    if not text.strip():
        raise TokenizerError("empty transcript")
    unknown = sorted(set(text) - set(known))
    if unknown:
        raise TokenizerError(f"transcript {text!r} has unknown characters: {unknown}")


def _check_label(label: int, vocab_size: int) -> None:
    if not 0 < label < vocab_size:
        raise TokenizerError(f"label {label} is not in [1, {vocab_size})")


def _check_suffix(path: str | Path, suffix: str) -> None:
    if Path(path).suffix != suffix:
        raise TokenizerError(f"{path} must end in {suffix}")
