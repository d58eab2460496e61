"""Check of a tokenizer's characters against the languages of the training corpora."""

import pathlib
from collections.abc import Sequence

from rnnt_qat.experiment.config import Split
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer


def check_alphabet(
    tokenizer: CharacterTokenizer, data_dir: pathlib.Path, splits: Sequence[Split]
) -> None:
    """Checks that a tokenizer covers the letters of the corpora's languages.

    Args:
      tokenizer: the tokenizer.
      data_dir: folder of the prepared corpora.
      splits: the corpora.

    Raises:
      ConfigError: transcripts contain letters of their language that the tokenizer lacks.
    """
    for split in splits:
        corpus = open_corpus(data_dir, split.corpus, split.split)
        used = {character for text in corpus.texts for character in text}
        lacking = "".join(sorted(used & set(corpus.characters) - set(tokenizer.characters)))
        if lacking:
            both = "".join(dict.fromkeys(tokenizer.characters + corpus.characters))
            raise ConfigError(
                f"data.characters={tokenizer.characters!r} lacks {lacking!r} of {split.name} "
                f"(language {corpus.language}): set it to {both!r}, and model.vocabulary to "
                f"{len(both) + 1}"
            )
