"""Live recognition from an integer artefact, with the NumPy player and greedy search.

JAX computes the features; everything after them is computed in the chip's integers. Tokens, frames
and endpoints equal those of the serving program of the same model.
"""

import jax
import numpy as np

from rnnt_qat.artefact.artefact import Artefact, ArtefactError
from rnnt_qat.artefact.player import BLANK_ID, Player, quantize_features
from rnnt_qat.batch import to_float
from rnnt_qat.decoding.endpoint import EndpointConfig, UtteranceFrames
from rnnt_qat.decoding.live_driver import SEGMENT_END
from rnnt_qat.experiment.transcriber import DecodedChunk, Token
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import ConfigError, from_json
from rnnt_qat.typing import Int


def frontend_of(artefact: Artefact) -> Frontend:
    """Returns the frontend that an artefact's settings describe.

    Raises:
      ArtefactError: if the settings are invalid.
    """
    settings = dict(artefact.features)
    mean, std = (np.asarray(settings.pop(name), np.float32) for name in ("mean", "std"))
    try:
        return Frontend(from_json(FrontendConfig, settings), FeatureStats(mean, std))
    except ConfigError as error:
        raise ArtefactError(f"features: {error}") from error


class ArtefactEngine:
    """An ``Engine`` over an artefact.

    Args:
      artefact: artefact returned by ``artefact.load``.
      chunk_ms: audio per chunk in milliseconds, a multiple of the encoder frame.
      endpoint: endpointing rules; None ends segments only at the end of a stream.

    Raises:
      ArtefactError: if the artefact's feature settings are invalid.
      ValueError: if ``chunk_ms`` is not a multiple of the encoder frame.
    """

    def __init__(self, artefact: Artefact, chunk_ms: float, endpoint: EndpointConfig | None = None):
        self._frontend = frontend_of(artefact)
        config = self._frontend.config
        self._artefact = artefact
        self._player = Player(artefact.model)
        self._endpoint = endpoint
        self._reduction = artefact.model.encoder.time_reduction
        self.sample_rate_hz = config.log_mel.sample_rate_hz
        self.frame_s = config.frame_ms * self._reduction / 1000
        frames = round(chunk_ms / 1000 / self.frame_s)
        if frames < 1 or abs(frames * self.frame_s * 1000 - chunk_ms) > 1e-6 * self.frame_s:
            raise ValueError(
                f"chunk_ms={chunk_ms:g} is not a multiple of the encoder frame of "
                f"{1000 * self.frame_s:g} ms; the nearest is "
                f"{1000 * max(frames, 1) * self.frame_s:g}"
            )
        self.chunk_samples = frames * self._reduction * config.samples_per_frame
        self._features = jax.jit(lambda f, audio, lengths, state: f(audio, lengths, state))

    def piece(self, label: int) -> str:
        """Returns the text of a label."""
        return self._artefact.pieces[label]

    def start(self) -> None:
        """Starts a new stream."""
        self._history = self._frontend.initial_state(1)
        self._player.reset()
        self._predicted = self._player.predict(BLANK_ID)
        self._frame = 0
        self._begin_segment()

    def push(self, audio: Int[np.ndarray, "N"]) -> DecodedChunk:
        """Processes the next chunk of int16 samples; only the last chunk may be shorter."""
        padded = np.pad(to_float(audio), (0, self.chunk_samples - len(audio)))[None]
        length = np.array([len(audio)], np.int32)
        features, _, self._history = self._features(self._frontend, padded, length, self._history)
        model = self._artefact.model
        count = self._frontend.config.num_frames(len(audio))
        x = quantize_features(np.asarray(features[0, :count]), model.encoder.layers[0].input)
        # The encoder may be reset at any frame, so it must not process later frames ahead of time.
        restarts = self._endpoint is not None and self._endpoint.restart_encoder
        size = self._reduction if restarts else max(count, 1)
        final: list[Token] = []
        for start in range(0, count, size):
            for encoded in self._player.encode(x[start : start + size]):
                final += self._search(encoded)
        return DecodedChunk(final)

    def end(self) -> DecodedChunk:
        """Ends the last segment."""
        return DecodedChunk([(SEGMENT_END, self._frame, self._log_prob)])

    def _begin_segment(self) -> None:
        self._began, self._last = self._frame, -1
        self._log_prob = self._blank_log_prob = 0.0

    def _search(self, encoded: np.ndarray) -> list[Token]:
        """Returns the tokens of one encoder frame, and the end of the segment if it ends."""
        found: list[Token] = []
        bound = self._artefact.max_symbols_per_frame
        for symbols in range(bound + 1):
            logits = self._player.logits(encoded, self._predicted)
            label = BLANK_ID if symbols == bound else int(np.argmax(logits))
            log_prob = self._log_prob_of(label, logits)
            self._log_prob += log_prob
            if label == BLANK_ID:
                self._blank_log_prob += log_prob
                break
            self._last, self._blank_log_prob = self._frame, 0.0
            found.append((label, self._frame, log_prob))
            self._predicted = self._player.predict(label)
        self._frame += 1
        if self._endpoint is not None and self._over(self._endpoint):
            found.append((SEGMENT_END, self._frame, self._log_prob))
            if self._endpoint.restart_encoder:
                self._player.reset()
            else:
                self._player.reset_prediction()
            self._predicted = self._player.predict(BLANK_ID)
            self._begin_segment()
        return found

    def _log_prob_of(self, label: int, logits: np.ndarray) -> float:
        scale = self._artefact.model.joint.output.output.scale
        scores = (logits - np.float64(logits.max())) * scale
        return float(scores[label] - np.log(np.exp(scores).sum()))

    def _over(self, endpoint: EndpointConfig) -> bool:
        spoken = self._last >= self._began
        trailing = self._frame - (self._last + 1 if spoken else self._began)
        frames = UtteranceFrames(
            length=np.array([self._frame - self._began]),
            trailing=np.array([trailing]),
            spoken=np.array([spoken]),
            relative_cost=np.array([-self._blank_log_prob / max(trailing + spoken, 1)]),
        )
        return bool(endpoint.reached(self.frame_s, frames)[0])
