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
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from rnnt_qat.decoding.endpoint import EndpointConfig, EndpointRule
from rnnt_qat.decoding.live_driver import SEGMENT_END, LiveDriver
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.input_pipeline.mixture import Mixture
from rnnt_qat.layers.lstm_scan import LSTMState
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

CHUNK_S, PAUSE_S = 2.0, 0.3
SENTENCES_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Reset:
    """What happens to the states of a stream.

    Attributes:
      name: as printed.
      endpoint: when encoder and search restart; None never.
      cell_limit: magnitude to which cells of the encoder are clipped after every chunk; 0 disables.
    """

    name: str
    endpoint: EndpointConfig | None = None
    cell_limit: float = 0.0


def _every(seconds: float) -> EndpointConfig:
    rule = EndpointRule(must_contain_speech=False, min_utterance_s=seconds)
    return EndpointConfig((rule,), restart_encoder=True)


RESETS = (
    Reset("none"),
    Reset("at endpoints", EndpointConfig(restart_encoder=True)),
    Reset("every 10 s", _every(10.0)),
    Reset("every 30 s", _every(30.0)),
    Reset("cells clipped to 8", cell_limit=8.0),
)


def groups(num_samples: Sequence[int], pause: int, most: int) -> list[list[int]]:
    """Divides utterances, in their order, into streams of at most ``most`` samples each.

    Args:
      num_samples: lengths of the utterances.
      pause: samples between two utterances of a stream.
      most: length of a stream; an utterance that is longer is a stream of its own.
    """
    found: list[list[int]] = []
    length = 0
    for index, samples in enumerate(num_samples):
        if not found or length + pause + samples > most:
            found.append([])
            length = -pause
        found[-1].append(index)
        length += pause + samples
    return found


def clipped(state: Any, limit: float) -> Any:
    """Returns a state whose cells lie within ``limit``; real-valued states only."""

    def clip(layer: Any) -> Any:
        if not isinstance(layer, LSTMState):
            return layer
        return dataclasses.replace(layer, cell=jnp.clip(layer.cell, -limit, limit))

    return jax.tree.map(clip, state, is_leaf=lambda x: isinstance(x, LSTMState))


@dataclasses.dataclass(frozen=True)
class Heard:
    """Result of decoding several streams.

    Attributes:
      texts: one per stream.
      largest_cells: largest cell magnitude in the streams that go on, by chunk and layer.
      segments: segments of all streams.
    """

    texts: list[str]
    largest_cells: np.ndarray
    segments: int


def hear(
    recognizer: Recognizer, audio: Sequence[np.ndarray], reset: Reset, rows: int | None = None
) -> Heard:
    """Decodes streams side by side, each to its own end.

    Args:
      recognizer: a recognizer whose encoder has LSTMs.
      audio: int16 samples of each stream.
      reset: what happens to their states.
      rows: streams in the program, those beyond ``audio`` empty; None for as many as there are.
    """
    transducer: Transducer = jax.device_put(recognizer.transducer())
    frame = recognizer.frontend.config.samples_per_frame * transducer.time_reduction
    chunk = round(CHUNK_S * recognizer.frontend.config.log_mel.sample_rate_hz / frame) * frame
    search = recognizer.config.evaluation.search
    driver = LiveDriver(recognizer.frontend, search, chunk // frame, reset.endpoint)
    rows = rows or len(audio)

    @jax.jit
    def step(transducer, samples, lengths, state):
        emitted, state = driver.step(transducer, samples, lengths, state)
        if reset.cell_limit:
            state = dataclasses.replace(state, encoder=clipped(state.encoder, reset.cell_limit))
        on = (lengths > 0)[:, None]
        largest = [
            jnp.where(on, jnp.abs(layer.cell), 0.0).max()
            for layer in state.encoder
            if isinstance(layer, LSTMState)
        ]
        return emitted, jnp.stack(largest), state

    state = driver.initial_state(transducer, rows)
    tokens: list[list[int]] = [[] for _ in range(rows)]

    def collect(emitted) -> None:
        found, counts = np.asarray(emitted.tokens), np.asarray(emitted.length)
        for own, row, count in zip(tokens, found, counts, strict=True):
            own.extend(row[:count].tolist())

    cells = []
    lengths = np.array([*map(len, audio), *[0] * (rows - len(audio))])
    for start in range(0, lengths.max(), chunk):
        samples = np.zeros((rows, chunk), np.float32)
        for row, stream in enumerate(audio):
            part = stream[start : start + chunk]
            samples[row, : len(part)] = part / 32768.0
        here = np.clip(lengths - start, 0, chunk).astype(np.int32)
        emitted, largest, state = step(transducer, samples, here, state)
        collect(emitted)
        cells.append(np.asarray(largest))
    collect(driver.finish(state))
    texts = [_text(recognizer, own) for own in tokens[: len(audio)]]
    segments = sum(own.count(SEGMENT_END) for own in tokens[: len(audio)])
    return Heard(texts, np.array(cells), segments)


def _text(recognizer: Recognizer, tokens: list[int]) -> str:
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token == SEGMENT_END:
            parts.append([])
        else:
            parts[-1].append(token)
    return " ".join(filter(None, (recognizer.tokenizer.decode(part).strip() for part in parts)))


def sentence_by_sentence(recognizer: Recognizer, audio: Sequence[np.ndarray]) -> list[str]:
    """Returns the text of each utterance decoded alone."""
    texts = [""] * len(audio)
    order = sorted(range(len(audio)), key=lambda index: len(audio[index]))
    for start in range(0, len(order), SENTENCES_AT_ONCE):
        chosen = order[start : start + SENTENCES_AT_ONCE]
        heard = hear(recognizer, [audio[i] for i in chosen], Reset("none"), SENTENCES_AT_ONCE)
        for index, text in zip(chosen, heard.texts, strict=True):
            texts[index] = text
    return texts


def main(argv: list[str]) -> None:
    """Prints the tables."""
    del argv
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
    app.run(main)
