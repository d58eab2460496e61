"""Word error rate of recordings joined to minutes against sentence by sentence, by resets.

    python -m benchmarks.long_form --model=data/pretrained/assistant \
        --minutes=1,10 --output=long_form.json

Every utterance of the splits is part of one stream, in the order of the corpora, with 0.3 s of
silence between two; the last, incomplete stream counts as well. Streams are decoded by the live
driver in chunks of 2 s, and their errors are paired with those of the same utterances decoded
alone. Resets restart encoder and search: at Kaldi's endpoint rules, or after some seconds in the
middle of whatever is said. Clipping bounds the cells of the encoder after every chunk.

The question is that of models trained on short windows and used on long signals (Owerko et al.,
"Transferability of Convolutional Neural Networks in Stationary Learning Tasks", 2023).
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from absl import flags

from benchmarks.long_streams import CHUNK_S, PAUSE_S, RESETS, groups, hear, sentence_by_sentence
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.infra.program import run
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.input_pipeline.mixture import Mixture
from rnnt_qat.metrics.bootstrap import error_rate_interval, paired_difference
from rnnt_qat.metrics.wer import ErrorCounts, word_errors

_MODEL = flags.DEFINE_string("model", "data/pretrained/assistant", "Directory of a recognizer.")
_SPLITS = flags.DEFINE_list(
    "splits",
    [
        "asterisk_prompts:validation",
        "synthetic_speech/prompts_4h:validation",
        "librispeech/dev_clean_part:validation",
        "speechocean762:validation",
    ],
    "CORPUS:SPLIT of the utterances.",
)
_DATA = flags.DEFINE_string("data_dir", "corpora", "Where corpora are prepared.")
_MINUTES = flags.DEFINE_list("minutes", ["1", "10"], "Lengths of the joined streams.")
_LIMIT = flags.DEFINE_float("limit_minutes", 0.0, "Speech to take from the splits; 0 takes all.")
_OUTPUT = flags.DEFINE_string("output", "long_form.json", "File for the figures.")


def main() -> None:
    """Prints the tables."""
    recognizer, data_dir = Recognizer.load(pathlib.Path(_MODEL.value)), pathlib.Path(_DATA.value)
    rate = recognizer.frontend.config.log_mel.sample_rate_hz
    splits = [Split.parse(name) for name in _SPLITS.value]
    corpus = Mixture([open_corpus(data_dir, s.corpus, s.split, rate) for s in splits])
    most = _LIMIT.value * 60 * rate or np.inf
    taken = int(np.searchsorted(np.cumsum(corpus.num_samples), most, side="right"))
    audio = [corpus[i].audio for i in range(taken)]
    alone = word_errors(corpus.texts[:taken], sentence_by_sentence(recognizer, audio))
    minutes = sum(map(len, audio)) / rate / 60
    print(f"{taken} utterances, {minutes:.1f} min; WER alone {ErrorCounts.total(alone).rate:.1%}\n")
    print("| stream | reset | streams | segments | WER | to alone, paired | relative | del | ins |")
    print("|---|---|---:|---:|---|---|---:|---:|---:|")
    found: dict[str, Any] = {"alone": dataclasses.asdict(ErrorCounts.total(alone))}
    for length in map(float, _MINUTES.value):
        pause = np.zeros(round(PAUSE_S * rate), np.int16)
        own = groups([len(a) for a in audio], len(pause), round(60 * length * rate))
        streams = [
            np.concatenate([piece for i in group for piece in (audio[i], pause)][:-1])
            for group in own
        ]
        references = [" ".join(corpus.texts[i] for i in group) for group in own]
        baseline = [ErrorCounts.total(alone[i] for i in group) for group in own]
        for reset in RESETS:
            heard = hear(recognizer, streams, reset)
            errors = word_errors(references, heard.texts)
            wer, total = error_rate_interval(errors), ErrorCounts.total(errors)
            change = paired_difference(baseline, errors).difference
            relative = wer.value / ErrorCounts.total(alone).rate - 1
            found[f"{length:g} min, {reset.name}"] = {
                "errors": dataclasses.asdict(total),
                "segments": heard.segments,
                "largest_cells": heard.largest_cells.tolist(),
            }
            words = total.reference_length
            print(
                f"| {length:g} min | {reset.name} | {len(own)} | {heard.segments} | "
                f"{wer.value:.1%} [{wer.low:.1%}, {wer.high:.1%}] | "
                f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}] | "
                f"{relative:+.0%} | {total.deletions / words:.1%} | "
                f"{total.insertions / words:.1%} |",
                flush=True,
            )
    _print_cells(found, [float(m) for m in _MINUTES.value][-1])
    pathlib.Path(_OUTPUT.value).write_text(json.dumps(found, indent=1) + "\n")


def _print_cells(found: dict[str, Any], minutes: float) -> None:
    """Prints the largest cell magnitude until some times of the longest streams."""
    times = [t for t in (2, 10, 60, 300, 600, 3600) if t <= 60 * minutes]
    print(f"\nlargest cell of each layer until a time, streams of {minutes:g} min\n")
    print(f"| reset | {' | '.join(f'{t} s' for t in times)} |\n|---|{'---|' * len(times)}")
    for reset in RESETS:
        cells = np.array(found[f"{minutes:g} min, {reset.name}"]["largest_cells"])
        until = np.maximum.accumulate(cells)
        columns = [until[min(round(t / CHUNK_S), len(until)) - 1] for t in times]
        rows = (" / ".join(f"{c:.1f}" for c in column) for column in columns)
        print(f"| {reset.name} | {' | '.join(rows)} |")


if __name__ == "__main__":
    run(main)
