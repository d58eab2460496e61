"""Progress line and throughput of a stage."""

import time

from rnnt_qat.infra.console import format_duration


class Progress:
    """Throughput over the time spent on updates, without compilation and evaluation.

    Args:
      stage: name of the stage.
      step: number of batches processed so far.
      last_step: last step of the stage.
      last_of_all: last step of the last stage.
    """

    def __init__(self, stage: str, step: int, last_step: int, last_of_all: int):
        self._stage, self._last_step, self._last_of_all = stage, last_step, last_of_all
        self._measured_step = step
        self._measured_at = time.monotonic()
        self._seconds_a_step = float("nan")
        self._utterances_a_second = float("nan")
        self._audio_rate = float("nan")
        self.loss = float("nan")

    def paused(self, really: bool = True) -> "_Pause":
        """Returns a context whose time is not counted, if ``really``."""
        return _Pause(self, really)

    def leave_out(self, seconds: float) -> None:
        """Excludes time that was not spent on updates."""
        self._measured_at += seconds

    def measure(self, step: int, utterances: float, audio_seconds: float) -> None:
        """Computes the rates of the interval since the previous call.

        Args:
          step: number of batches processed so far.
          utterances: number of utterances in the interval.
          audio_seconds: seconds of audio in the interval.
        """
        now = time.monotonic()
        seconds = max(now - self._measured_at, 1e-9)
        steps = step - self._measured_step
        if steps > 0:
            self._seconds_a_step = seconds / steps
            self._utterances_a_second = utterances / seconds
            self._audio_rate = audio_seconds / seconds
        self._measured_at, self._measured_step = now, step

    def rates(self) -> dict[str, float]:
        """Returns the throughput of the last interval, by metric name."""
        return {
            "utterances_per_second": self._utterances_a_second,
            "audio_hours_per_hour": self._audio_rate,
            "seconds_per_step": self._seconds_a_step,
        }

    def line(self, step: int, wer: float | None) -> str:
        """Returns the progress line.

        Args:
          step: number of batches processed so far.
          wer: last validation WER as a fraction; None if not measured.
        """
        parts = [f"{self._stage} {step}/{self._last_step}"]
        if self.loss == self.loss:
            parts.append(f"loss {self.loss:.3f}")
        if wer is not None:
            parts.append(f"validation WER {100 * wer:.1f} %")
        if self._seconds_a_step == self._seconds_a_step:
            eta = (self._last_step - step) * self._seconds_a_step
            parts += [
                f"{self._utterances_a_second:.0f} utterances/s",
                f"{self._audio_rate:.0f} audio h/h",
                f"ETA {format_duration(eta)}",
            ]
            if self._last_of_all > self._last_step:
                # Approximate: steps of other stages take a different time, and their evaluations
                # and compilation are not included.
                rest = (self._last_of_all - step) * self._seconds_a_step
                parts.append(f"all stages about {format_duration(rest)}")
        return "  ".join(parts)


class _Pause:
    def __init__(self, progress: "Progress", really: bool):
        self._progress, self._really = progress, really

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, *_) -> None:
        if self._really:
            self._progress.leave_out(time.monotonic() - self._begun)
