"""Trains SentencePiece units on the transcripts of prepared corpora.

python -m experiments.train_tokenizer --corpora=librispeech/by_speaker --output=units.model
"""

import pathlib

from absl import flags

from experiments.flags import DATA_DIR, run
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.input_pipeline.tokenizer import SentencePieceTokenizer

_CORPORA = flags.DEFINE_list("corpora", None, "Corpora whose transcripts are used.", required=True)
_SPLIT = flags.DEFINE_string("split", "train", "Split of each corpus.")
_VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 512, "Labels, the blank included.", lower_bound=2)
_OUTPUT = flags.DEFINE_string("output", None, "The model file, *.model.", required=True)


def main() -> None:
    """Trains and saves the units, and prints statistics of the tokenized transcripts."""
    data_dir, output = pathlib.Path(DATA_DIR.value), pathlib.Path(_OUTPUT.value)
    corpora = [open_corpus(data_dir, name, _SPLIT.value) for name in _CORPORA.value]
    texts = [text for corpus in corpora for text in corpus.texts]
    tokenizer = SentencePieceTokenizer.train(texts, _VOCAB_SIZE.value)
    output.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(output)
    labels = sum(len(tokenizer.encode(text)) for text in texts)
    words = sum(len(text.split()) for text in texts)
    print(
        f"{output}: {tokenizer.vocab_size} labels from {len(texts)} transcripts; "
        f"{labels / words:.2f} labels a word"
    )


if __name__ == "__main__":
    run(main)
