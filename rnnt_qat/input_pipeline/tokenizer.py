"""Tokenizers: conversion between transcripts and labels, by characters or SentencePiece units.

Label 0 is the blank of the transducer and has no text. A tokenizer is stored in one file:
``*.json`` for characters, ``*.model`` for SentencePiece.
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
    """Error for an unsupported transcript, an invalid label or an invalid tokenizer file."""


class Tokenizer(Protocol):
    """A reversible mapping between normalised transcripts and labels."""

    @property
    def vocab_size(self) -> int:
        """Number of labels V, including the blank."""

    def encode(self, text: str) -> list[int]:
        """Converts a transcript to labels in [1, V).

        Raises:
          TokenizerError: the text is empty or has unknown characters.
        """

    def piece(self, label: int) -> str:
        """Returns the text of one label, with a space where a word starts.

        Raises:
          TokenizerError: the label is not in [1, V).
        """

    def decode(self, labels: Iterable[int]) -> str:
        """Converts labels in [1, V) to a transcript without leading or trailing spaces."""

    def save(self, path: str | Path) -> None:
        """Writes a file that :func:`load_tokenizer` reads."""


class CharacterTokenizer:
    """Tokenizer with one label per character, numbered from 1 in the given order."""

    def __init__(self, characters: str = LETTERS):
        """Creates a tokenizer for ``characters``.

        Raises:
          TokenizerError: there are no characters, one is repeated, or one is white space other than
            the space.
        """
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
        """Number of labels V: the characters and the blank."""
        return len(self.characters) + 1

    def encode(self, text: str) -> list[int]:
        """Converts a transcript to labels in [1, V)."""
        _check_transcript(text, self._label)
        return [self._label[character] for character in text]

    def piece(self, label: int) -> str:
        """Returns the character of a label."""
        _check_label(label, self.vocab_size)
        return self.characters[label - 1]

    def decode(self, labels: Iterable[int]) -> str:
        """Converts labels in [1, V) to a transcript."""
        return "".join(self.piece(label) for label in labels).strip()

    def save(self, path: str | Path) -> None:
        """Writes ``{"characters": ...}``."""
        _check_suffix(path, ".json")
        Path(path).write_text(json.dumps({"characters": self.characters}) + "\n", "utf-8")


class SentencePieceTokenizer:
    """Tokenizer with SentencePiece units; id 0, the unknown unit of the model, is the blank.

    Reference: Kudo 2018, "Subword regularization" (arXiv 1804.10959), section 3.2 (unigram model).
    """

    def __init__(self, model: bytes):
        """Loads a serialized SentencePiece model.

        Raises:
          TokenizerError: the unknown unit of the model is not 0, or it has control or byte units.
        """
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
        """Trains a unigram model; it is a deterministic function of its arguments.

        Args:
          texts: normalised transcripts.
          vocab_size: number of labels, including the blank.

        Raises:
          TokenizerError: there are no texts, or SentencePiece cannot train the model on them.
        """
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
            reason = str(error).split("] ")[-1]  # remove the prefix of C++ file, line and condition
            raise TokenizerError(
                f"no SentencePiece model of --vocab_size={vocab_size} from these texts: {reason}"
            ) from error
        return cls(model.getvalue())

    @property
    def vocab_size(self) -> int:
        """Number of labels V: the units and the blank."""
        return self._processor.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Converts a transcript to labels in [1, V)."""
        _check_transcript(text, self._characters)
        labels = self._processor.EncodeAsIds(text)
        if BLANK_ID in labels or self.decode(labels) != text.strip():
            raise TokenizerError(
                f"transcript {text!r} is not read back from its labels; the SentencePiece model "
                "must be trained with normalization_rule_name=identity, and spaces be single"
            )
        return labels

    def piece(self, label: int) -> str:
        """Returns the unit of a label, with a space where a word starts."""
        _check_label(label, self.vocab_size)
        return self._processor.IdToPiece(label).replace("▁", " ")

    def decode(self, labels: Iterable[int]) -> str:
        """Converts labels in [1, V) to a transcript."""
        return "".join(self.piece(label) for label in labels).strip()

    def save(self, path: str | Path) -> None:
        """Writes the SentencePiece model."""
        _check_suffix(path, ".model")
        Path(path).write_bytes(self._model)


def load_tokenizer(path: str | Path) -> CharacterTokenizer | SentencePieceTokenizer:
    """Loads a tokenizer of characters (``.json``) or SentencePiece units (``.model``).

    Raises:
      TokenizerError: the file does not exist or is not a valid tokenizer.
    """
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
