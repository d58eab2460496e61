"""Decoding of many recordings joined to streams, with and without resets (``long_form``)."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.decoding.endpoint import EndpointConfig, EndpointRule
from rnnt_qat.decoding.live_driver import SEGMENT_END, LiveDriver
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.layers.lstm_scan import LSTMState

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
