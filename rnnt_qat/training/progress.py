"""A stage's progress line and rates."""

import time

from rnnt_qat.infra.console import format_duration


class Progress:
    """Rates over the time spent on updates: compiling and evaluating do not count.

    Args:
      stage: its name.
      step: batches done.
      last_step: that the stage ends with.
      last_of_all: step that the last stage ends with.
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
        """A context whose time is left out."""
        return _Pause(self, really)

    def leave_out(self, seconds: float) -> None:
        """Time that was not spent on updates."""
        self._measured_at += seconds

    def measure(self, step: int, utterances: float, audio_seconds: float) -> None:
        """Takes in what an interval held."""
        now = time.monotonic()
        seconds = max(now - self._measured_at, 1e-9)
        steps = step - self._measured_step
        if steps > 0:
            self._seconds_a_step = seconds / steps
            self._utterances_a_second = utterances / seconds
            self._audio_rate = audio_seconds / seconds
        self._measured_at, self._measured_step = now, step

    def rates(self) -> dict[str, float]:
        """Throughput of the last interval."""
        return {
            "utterances_per_second": self._utterances_a_second,
            "audio_hours_per_hour": self._audio_rate,
            "seconds_per_step": self._seconds_a_step,
        }

    def line(self, step: int, wer: float | None) -> str:
        """The progress line."""
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
                # Other stages have other steps; their evaluations and compilation come on top.
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
