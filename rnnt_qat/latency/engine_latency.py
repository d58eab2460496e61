"""Engine latency: time of the recognizer's networks per second of audio, on a compiled chip.

The frontend and the bookkeeping of the search are not counted, as in the paper (Shakiah et al.,
2022, section 5: the latency of the engine that runs the network). The numbers of calls are those of
real decodes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from rnnt_qat.artefact.player import Transcript


@dataclass(frozen=True)
class GraphTimes:
    """Time of one call of each graph.

    Attributes:
      encoder_chunk_ms: time of an encoder chunk, in ms.
      prediction_step_ms: time of a prediction step, in ms.
      joint_step_ms: time of a joint step, in ms.
    """

    encoder_chunk_ms: float
    prediction_step_ms: float
    joint_step_ms: float


@dataclass(frozen=True, eq=False)
class DecodeCounts:
    """Numbers of calls that decoding each of N utterances took.

    Attributes:
      audio_seconds: duration of the audio, in seconds.
      encoder_calls: number of chunks encoded; a shorter last chunk costs a whole one.
      prediction_calls: number of steps of the prediction network, with the start symbol's.
      joint_calls: number of evaluations of the joint.
    """

    audio_seconds: Float[np.ndarray, "N"]
    encoder_calls: Int[np.ndarray, "N"]
    prediction_calls: Int[np.ndarray, "N"]
    joint_calls: Int[np.ndarray, "N"]

    def __post_init__(self) -> None:
        """Rejects fields of different lengths and utterances without audio."""
        shapes = {name: np.shape(values) for name, values in vars(self).items()}
        if len(set(shapes.values())) != 1 or np.ndim(self.audio_seconds) != 1:
            raise ValueError(f"DecodeCounts needs one number an utterance in each field: {shapes}")
        if not np.all(np.asarray(self.audio_seconds) > 0):
            raise ValueError("DecodeCounts.audio_seconds holds an utterance without audio")

    @classmethod
    def of_transcripts(
        cls, transcripts: list[Transcript], audio_seconds: Float[np.ndarray, "N"]
    ) -> "DecodeCounts":
        """Returns the counts of greedy decodes.

        Args:
          transcripts: results of the searches.
          audio_seconds: duration of each utterance, in seconds.
        """
        return cls(
            np.asarray(audio_seconds, np.float64),
            np.array([t.encoder_calls for t in transcripts]),
            np.array([t.prediction_calls for t in transcripts]),
            np.array([t.joint_calls for t in transcripts]),
        )

    @classmethod
    def of_hypotheses(
        cls,
        audio_seconds: Float[np.ndarray, "N"],
        encoder_frames: Int[np.ndarray, "N"],
        tokens: Int[np.ndarray, "N"],
        frames_per_chunk: int,
        full_frames: Int[np.ndarray, "N"] | int = 0,
    ) -> "DecodeCounts":
        """Derives the counts of greedy searches from their results.

        Every token takes one evaluation of the joint, and so does the blank that ends an encoder
        frame.

        Args:
          audio_seconds: duration of each utterance, in seconds.
          encoder_frames: number of frames after time reduction.
          tokens: number of labels emitted.
          frames_per_chunk: encoder frames per encoder call.
          full_frames: number of frames with the maximum number of labels, at which the joint is not
            evaluated for the blank.
        """
        frames, labels = np.asarray(encoder_frames), np.asarray(tokens)
        return cls(
            np.asarray(audio_seconds, np.float64),
            -(-frames // frames_per_chunk),
            labels + 1,
            frames + labels - full_frames,
        )


@dataclass(frozen=True)
class EngineLatency:
    """Engine latency of a set of utterances.

    Attributes:
      ms_per_second: engine time in ms per second of audio, over all audio.
      encoder_ms_per_second: the encoder's part.
      prediction_ms_per_second: the prediction network's part.
      joint_ms_per_second: the joint's part.
      real_time_factor: engine time divided by audio time.
      p50_ms_per_second: median over utterances.
      p90_ms_per_second: 90th percentile over utterances.
      p50_utterance_ms: median engine time of an utterance.
      p90_utterance_ms: 90th percentile of the engine time of an utterance.
    """

    ms_per_second: float
    encoder_ms_per_second: float
    prediction_ms_per_second: float
    joint_ms_per_second: float
    real_time_factor: float
    p50_ms_per_second: float
    p90_ms_per_second: float
    p50_utterance_ms: float
    p90_utterance_ms: float


def engine_latency(times: GraphTimes, counts: DecodeCounts) -> EngineLatency:
    """Computes the engine latency.

    Args:
      times: time of one call of each graph.
      counts: number of calls of each graph, by utterance.
    """
    encoder = counts.encoder_calls * times.encoder_chunk_ms
    prediction = counts.prediction_calls * times.prediction_step_ms
    joint = counts.joint_calls * times.joint_step_ms
    engine_ms = encoder + prediction + joint
    seconds = counts.audio_seconds
    ratio = engine_ms / seconds
    total = float(seconds.sum())
    return EngineLatency(
        ms_per_second=float(engine_ms.sum()) / total,
        encoder_ms_per_second=float(encoder.sum()) / total,
        prediction_ms_per_second=float(prediction.sum()) / total,
        joint_ms_per_second=float(joint.sum()) / total,
        real_time_factor=float(engine_ms.sum()) / total / 1e3,
        p50_ms_per_second=float(np.percentile(ratio, 50)),
        p90_ms_per_second=float(np.percentile(ratio, 90)),
        p50_utterance_ms=float(np.percentile(engine_ms, 50)),
        p90_utterance_ms=float(np.percentile(engine_ms, 90)),
    )
