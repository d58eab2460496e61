"""Global mean and standard deviation of the log-mel bins, measured on the training split."""

import functools
import json
import pathlib
from collections.abc import Iterable

import flax.struct
import jax
import numpy as np

from rnnt_qat.batch import to_float
from rnnt_qat.frontend.log_mel import LogMelConfig, log_mel
from rnnt_qat.typing import Float


@flax.struct.dataclass
class FeatureStats:
    """Mean and standard deviation of each log-mel bin, before stacking.

    Attributes:
      mean: mean of each bin.
      std: standard deviation of each bin, positive.
    """

    mean: Float[np.ndarray, "F"]
    std: Float[np.ndarray, "F"]

    def save(self, path: str | pathlib.Path) -> None:
        """Writes a JSON file; :meth:`load` restores the values exactly."""
        record = {"mean": np.asarray(self.mean).tolist(), "std": np.asarray(self.std).tolist()}
        pathlib.Path(path).write_text(json.dumps(record) + "\n")

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "FeatureStats":
        """Reads a file that :meth:`save` wrote.

        Raises:
          ValueError: the file has another format or holds invalid values; the message names it.
        """
        try:
            record = json.loads(pathlib.Path(path).read_text())
            mean, std = (np.asarray(record[k], np.float32) for k in ("mean", "std"))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a file of feature statistics: {error!r}") from error
        if mean.ndim != 1 or mean.shape != std.shape:
            raise ValueError(f"{path}: mean {mean.shape} and std {std.shape} are not two [F] rows")
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ValueError(f"{path}: means must be finite and deviations positive")
        return cls(mean, std)


def measure_stats(
    recordings: Iterable[np.ndarray], config: LogMelConfig, min_std: float = 0.1
) -> FeatureStats:
    """Measures the statistics over all valid frames of ``recordings``.

    Args:
      recordings: int16 samples, or float samples in [-1, 1), ``[N]`` each, at the config's rate.
      config: options of a log-mel frame.
      min_std: lower bound of the standard deviation in nats, for bins above the bandwidth of the
        recordings.

    Raises:
      ValueError: there is no audio.
    """
    chunk_frames = 400
    step = jax.jit(functools.partial(log_mel, config=config))
    count, total, squares = 0, np.zeros(config.num_mel_bins), np.zeros(config.num_mel_bins)
    for recording in recordings:
        audio = to_float(recording)
        history = np.zeros((1, config.history), np.float32)
        for start in range(0, len(audio), chunk_frames * config.hop):
            chunk = audio[start : start + chunk_frames * config.hop]
            padded = np.pad(chunk, (0, chunk_frames * config.hop - len(chunk)))
            frames, history = step(padded[None], history)
            valid = np.asarray(frames[0], np.float64)[: config.num_frames(len(chunk))]
            count += len(valid)
            total += valid.sum(0)
            squares += np.square(valid).sum(0)
    if not count:
        raise ValueError("feature statistics need at least one non-empty recording")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, min_std**2))
    return FeatureStats(mean.astype(np.float32), std.astype(np.float32))
