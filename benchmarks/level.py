"""Word error rate of recognizers against the level of their input.

    python -m benchmarks.level --models=data/pretrained/assistant --test=asterisk_prompts:test

Every recording of a test set is made louder or quieter by each gain, rounded and cut off as 16-bit
samples are, and stream-decoded in chunks of 240 ms. Differences to 0 dB are paired.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from absl import flags

from rnnt_qat.infra.program import run

_MODELS = flags.DEFINE_list("models", ["data/pretrained/assistant"], "Directories of recognizers.")
_TEST = flags.DEFINE_string("test", "asterisk_prompts:test", "CORPUS:SPLIT that is decoded.")
_GAINS = flags.DEFINE_list("gains_db", ["-20", "-12", "-6", "6", "10"], "Gains beside 0 dB.")
_DATA = flags.DEFINE_string("data_dir", "corpora", "Where corpora are prepared.")


class AtGain:
    """A corpus split, louder or quieter; what exceeds 16 bits is cut off.

    Attributes:
      texts: transcripts.
      ids: utterance ids.
      num_samples: audio lengths.
    """

    def __init__(self, corpus: Any, gain_db: float):
        """Changes ``corpus`` by ``gain_db``."""
        self._corpus, self._gain = corpus, 10 ** (gain_db / 20)
        self.texts, self.ids, self.num_samples = corpus.texts, corpus.ids, corpus.num_samples

    def __len__(self) -> int:
        return len(self._corpus)

    def __getitem__(self, index: int) -> Any:
        utterance = self._corpus[index]
        samples = np.rint(utterance.audio * self._gain)
        audio = np.clip(samples, -(2**15), 2**15 - 1).astype(np.int16)
        return dataclasses.replace(utterance, audio=audio)


def table(model: pathlib.Path, gains: list[float]) -> list[str]:
    """Rows of a Markdown table: gain, WER, difference to the first gain, deletions."""
    from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig, StreamingEvaluator
    from rnnt_qat.experiment.config import Split
    from rnnt_qat.experiment.recognizer import Recognizer
    from rnnt_qat.input_pipeline.corpus import open_corpus
    from rnnt_qat.input_pipeline.eval_batches import EvalBatches
    from rnnt_qat.input_pipeline.mixture import Mixture
    from rnnt_qat.metrics.bootstrap import error_rate_interval, paired_difference
    from rnnt_qat.metrics.wer import ErrorCounts

    recognizer = Recognizer.load(model)
    config, split = recognizer.config, Split.parse(_TEST.value)
    corpus = open_corpus(_DATA.value, split.corpus, split.split)
    everything = Mixture([AtGain(corpus, gain) for gain in gains])  # one program a shape for all
    evaluator = StreamingEvaluator(
        EvaluationConfig(),
        lambda variables: dataclasses.replace(recognizer, variables=variables).transducer(),
        recognizer.frontend,
        recognizer.tokenizer,
        EvalBatches(everything, recognizer.tokenizer, config.frontend, config.pipeline),
        references=everything,
    )
    (result,) = evaluator.evaluate(recognizer.variables)
    words = [utterance.words for utterance in result.utterances]
    at_gain = [words[i * len(corpus) : (i + 1) * len(corpus)] for i in range(len(gains))]
    rows = []
    for gain, counts in sorted(zip(gains, at_gain, strict=True)):
        wer = error_rate_interval(counts)
        change = paired_difference(at_gain[0], counts).difference
        total = ErrorCounts.total(counts)
        rows.append(
            f"| {gain:+g} dB | {wer.value:.1%} [{wer.low:.1%}, {wer.high:.1%}] | "
            f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}] | "
            f"{total.deletions / total.reference_length:.1%} |"
        )
    return rows


def main() -> None:
    """Prints a table a model."""
    gains = [0.0, *(float(gain) for gain in _GAINS.value if float(gain))]
    for model in _MODELS.value:
        print(f"\n{model}, {_TEST.value}\n\n| gain | WER | to 0 dB, paired | deletions |")
        print("|---|---|---|---|", *table(pathlib.Path(model), gains), sep="\n", flush=True)


if __name__ == "__main__":
    run(main)
