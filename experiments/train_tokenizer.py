"""Trains SentencePiece units on the transcripts of prepared corpora.

Example:
    python -m experiments.train_tokenizer --corpora=librispeech/by_speaker --output=units.model
"""

import pathlib

from absl import app, flags

from rnnt_qat.input_pipeline.corpus import CorpusError, open_corpus
from rnnt_qat.input_pipeline.tokenizer import SentencePieceTokenizer, TokenizerError

_DATA_DIR = flags.DEFINE_string("data_dir", "corpora", "Where corpora are prepared.")
_CORPORA = flags.DEFINE_list("corpora", None, "Corpora whose transcripts are used.", required=True)
_SPLIT = flags.DEFINE_string("split", "train", "Split of each corpus.")
_VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 512, "Labels, the blank included.", lower_bound=2)
_OUTPUT = flags.DEFINE_string("output", None, "The model file, *.model.", required=True)


def main(argv: list[str]) -> None:
    """Trains, saves, and prints what the units do to the transcripts."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    try:
        corpora = [open_corpus(_DATA_DIR.value, name, _SPLIT.value) for name in _CORPORA.value]
        texts = [text for corpus in corpora for text in corpus.texts]
        tokenizer = SentencePieceTokenizer.train(texts, _VOCAB_SIZE.value)
        pathlib.Path(_OUTPUT.value).parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(_OUTPUT.value)
    except (CorpusError, TokenizerError) as error:
        raise SystemExit(f"train_tokenizer: {error}") from error
    labels = sum(len(tokenizer.encode(text)) for text in texts)
    words = sum(len(text.split()) for text in texts)
    print(
        f"{_OUTPUT.value}: {tokenizer.vocab_size} labels from {len(texts)} transcripts; "
        f"{labels / words:.2f} labels a word"
    )


if __name__ == "__main__":
    app.run(main)
