"""Decoding of several test sets with one recognizer."""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress
from rnnt_qat.input_pipeline.corpus import open_corpus


def decode_test_sets(
    recognizer: Recognizer,
    splits: Sequence[Split],
    evaluation: EvaluationConfig,
    data_dir: pathlib.Path,
    name: str,
    console: Console | None = None,
) -> list[EvaluationResult]:
    """Stream-decodes test sets in one pass, because compilation dominates for small test sets.

    Args:
      recognizer: the recognizer to evaluate.
      splits: the test sets; they share batch shapes and one measured real-time factor.
      evaluation: how test sets are decoded.
      data_dir: folder of the prepared corpora.
      name: name of the recognizer in its results.
      console: output of progress lines; None for none.

    Returns:
      One result per test set and chunk size.
    """
    corpora = [open_corpus(data_dir, split.corpus, split.split) for split in splits]
    ends = itertools.accumulate(map(len, corpora))
    evaluator = recognizer.evaluator(splits, evaluation, data_dir)
    with Progress(f"decoding with {name}", console, unit="batches") as progress:
        whole = evaluator.evaluate(recognizer.variables, name, progress.at)
    return [
        dataclasses.replace(
            result,
            test_set=split.name,
            utterances=result.utterances[end - len(corpus) : end],
        )
        for split, corpus, end in zip(splits, corpora, ends, strict=True)
        for result in whole
    ]
