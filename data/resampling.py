"""Polyphase resampling of a stream, sample for sample what resampling the whole would give."""

import math

import numpy as np
from jaxtyping import Float


class Resampler:
    """Resamples a mono stream block by block.

    Every output sample is the same dot product that ``scipy.signal.resample_poly`` takes over the
    whole recording (its default filter; silence before the first and after the last sample), in the
    same order, so all cuts of a recording into blocks give the same bits.

    Args:
      rate_hz: of the blocks.
      to_hz: of what comes out.
    """

    def __init__(self, rate_hz: int, to_hz: int):
        divisor = math.gcd(rate_hz, to_hz)
        self._up, self._down = to_hz // divisor, rate_hz // divisor
        self._half = 10 * max(self._up, self._down)
        self._taps = np.ones(1, np.float32)
        if self._up != self._down:
            from scipy.signal import firwin  # a second to import, and most recordings need none

            # resample_poly's own filter, and like there rounded to float32 before it is scaled.
            cutoff = 1 / max(self._up, self._down)
            taps = firwin(2 * self._half + 1, cutoff, window=("kaiser", 5.0))
            self._taps = taps.astype(np.float32) * np.float32(self._up)
        self._held = np.zeros(0, np.float32)  # samples from `_first` on
        self._first = 0
        self._heard = 0
        self._made = 0

    def push(self, samples: Float[np.ndarray, " N"]) -> Float[np.ndarray, " M"]:
        """The next samples of the output, as far as these decide them."""
        self._held = np.concatenate([self._held, np.asarray(samples, np.float32)])
        self._heard += len(samples)
        if self._up == self._down:
            return self._take(self._heard)
        # Output m reads input up to (m * down + half) / up.
        return self._take((self._heard * self._up - self._half - 1) // self._down + 1)

    def end(self) -> Float[np.ndarray, " M"]:
        """The rest of the output: silence follows."""
        return self._take(-(-self._heard * self._up // self._down))

    def _take(self, until: int) -> Float[np.ndarray, " M"]:
        """Output samples from the last one made up to ``until``."""
        if until <= self._made:
            return np.zeros(0, np.float32)
        if self._up == self._down:
            made, self._held = self._held, np.zeros(0, np.float32)
            self._made = until
            return made
        from scipy.signal import upfirdn

        up, down, half = self._up, self._down, self._half
        # upfirdn's output p sits at position p * down of the input stuffed with zeros, counted from
        # the first held sample, so that sample must stand on a multiple of `down`.
        offset = self._made * down + half - self._first * up
        lead = -offset % down
        taps = np.concatenate([np.zeros(lead, np.float32), self._taps])
        start = (offset + lead) // down
        count = until - self._made
        needed = -(-((start + count) * down) // up)
        held = np.pad(self._held, (0, max(0, needed - len(self._held))))
        made = upfirdn(taps, held, up, down)[start : start + count]
        self._made = until
        # The next output reads from (made * down - half) / up on.
        keep = max(0, (self._made * down - half) // up)
        self._held = self._held[keep - self._first :]
        self._first = keep
        return made
