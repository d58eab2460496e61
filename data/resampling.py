"""Polyphase resampling of a stream, with the same samples as resampling the whole recording."""

import math

import numpy as np
from jaxtyping import Float


class Resampler:
    """Block-by-block resampler of a mono stream.

    Every output sample is the same dot product as in ``scipy.signal.resample_poly`` over the whole
    recording (default filter, silence before the first and after the last sample), in the same
    order of additions. The result is therefore equal to the bit for any partition into blocks.

    Args:
      rate_hz: sample rate of the blocks.
      to_hz: sample rate of the output.
    """

    def __init__(self, rate_hz: int, to_hz: int):
        divisor = math.gcd(rate_hz, to_hz)
        self._up, self._down = to_hz // divisor, rate_hz // divisor
        self._half = 10 * max(self._up, self._down)
        self._taps = np.ones(1, np.float32)
        if self._up != self._down:
            from scipy.signal import firwin  # slow import, rarely needed

            # The filter of resample_poly, also rounded to float32 before it is scaled.
            cutoff = 1 / max(self._up, self._down)
            taps = firwin(2 * self._half + 1, cutoff, window=("kaiser", 5.0))
            self._taps = taps.astype(np.float32) * np.float32(self._up)
        self._held = np.zeros(0, np.float32)  # samples from `_first` on
        self._first = 0
        self._heard = 0
        self._made = 0

    def push(self, samples: Float[np.ndarray, " N"]) -> Float[np.ndarray, " M"]:
        """Adds input samples and returns the output samples that they complete."""
        self._held = np.concatenate([self._held, np.asarray(samples, np.float32)])
        self._heard += len(samples)
        if self._up == self._down:
            return self._take(self._heard)
        # Output sample m depends on input samples up to (m * down + half) / up.
        return self._take((self._heard * self._up - self._half - 1) // self._down + 1)

    def end(self) -> Float[np.ndarray, " M"]:
        """Returns the rest of the output, with silence after the last sample."""
        return self._take(-(-self._heard * self._up // self._down))

    def _take(self, until: int) -> Float[np.ndarray, " M"]:
        """Computes the output samples up to ``until`` that have not been returned."""
        if until <= self._made:
            return np.zeros(0, np.float32)
        if self._up == self._down:
            made, self._held = self._held, np.zeros(0, np.float32)
            self._made = until
            return made
        from scipy.signal import upfirdn

        up, down, half = self._up, self._down, self._half
        # Output p of upfirdn is at position p * down of the zero-stuffed input, counted from the
        # first held sample. Leading zeros in the filter align the wanted outputs to that grid.
        offset = self._made * down + half - self._first * up
        lead = -offset % down
        taps = np.concatenate([np.zeros(lead, np.float32), self._taps])
        start = (offset + lead) // down
        count = until - self._made
        needed = -(-((start + count) * down) // up)
        held = np.pad(self._held, (0, max(0, needed - len(self._held))))
        made = upfirdn(taps, held, up, down)[start : start + count]
        self._made = until
        # The next output sample depends on input samples from (made * down - half) / up on.
        keep = max(0, (self._made * down - half) // up)
        self._held = self._held[keep - self._first :]
        self._first = keep
        return made
