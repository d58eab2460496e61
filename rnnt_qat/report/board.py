"""Examples of a run for TensorBoard: audio, texts and figures beside the curves of training."""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorboardX

from rnnt_qat.batch import to_float
from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.metrics.alignment import align_words


def write_examples(
    folder: pathlib.Path,
    results: Sequence[EvaluationResult],
    data_dir: pathlib.Path,
    step: int,
    examples: int = 4,
) -> pathlib.Path:
    """Writes the worst utterances of each test set, and the figures of a report's folder.

    Args:
      folder: folder of the report, whose PNG files are shown; the events go to ``tensorboard``.
      results: results of any systems on any test sets.
      data_dir: folder of the prepared corpora.
      step: training step of the evaluated models.
      examples: utterances of each test set.

    Returns:
      The folder of the events, for ``tensorboard --logdir``.
    """
    directory = folder / "tensorboard"
    writer = tensorboardX.SummaryWriter(str(directory))
    for test_set in dict.fromkeys(result.test_set for result in results):
        group = [result for result in results if result.test_set == test_set]
        corpus_name, _, split = test_set.rpartition(":")
        corpus = open_corpus(data_dir, corpus_name, split)
        worst = sorted(group[-1].utterances, key=lambda u: -u.words.errors)[:examples]
        for utterance in worst:
            recording = corpus[corpus.ids.index(utterance.id)]
            name = f"{test_set}/{utterance.id}".replace(":", "/")
            audio = to_float(recording.audio)[:, None]
            writer.add_audio(name, audio, step, recording.sample_rate_hz)
            writer.add_text(name, _marked(group, utterance), step)
    from matplotlib.image import imread  # slow import, needed at the end

    for picture in sorted(folder.glob("*.png")):
        pixels = np.asarray(imread(picture))[..., :3]
        writer.add_image(picture.stem, pixels, step, dataformats="HWC")
    writer.close()
    return directory


def _marked(group: Sequence[EvaluationResult], utterance: UtteranceResult) -> str:
    """Returns what each system recognised, with its errors marked, as a Markdown table."""
    lines = ["| system | text |", "| --- | --- |", f"| reference | {utterance.reference} |"]
    for result in group:
        found = next((u for u in result.utterances if u.id == utterance.id), None)
        if found is not None:
            (alignment,) = align_words([found.reference], [found.hypothesis])
            words = [
                {"e": heard, "s": f"**{heard}**", "i": f"**{heard}**", "d": f"~~{said}~~"}[edit]
                for edit, said, heard in alignment.pairs()
            ]
            lines.append(f"| {result.system} | {' '.join(words)} |")
    return "\n".join(lines)
