"""Random lattices that every contestant of ``benchmarks.loss`` gets alike (NumPy alone)."""

from dataclasses import dataclass

import numpy as np

JOINT_WIDTH = 256


@dataclass(frozen=True)
class Case:
    """Sizes of a batch: ``U`` labels, ``V`` with the blank.

    Attributes:
      ragged: lengths differ; otherwise all rows are full.
      sharp: the joint form's alignments are as sure as a trained model's, a label every ``T / U``
        frames; otherwise as diffuse as an untrained one's.
    """

    B: int
    T: int
    U: int
    V: int
    ragged: bool = False
    sharp: bool = False

    @classmethod
    def parse(cls, text: str) -> "Case":
        """From ``"B,T,U,V"``, with ``",ragged"`` or ``",sharp"`` behind it or not."""
        B, T, U, V, *flags = text.split(",")
        if not set(flags) <= {"ragged", "sharp"}:
            raise ValueError(f"case {text!r}: after B,T,U,V only 'ragged' and 'sharp' are known")
        return cls(int(B), int(T), int(U), int(V), "ragged" in flags, "sharp" in flags)

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Frames and labels a row, int32; ragged: from a quarter of the longest to all of it."""
        if not self.ragged:
            return np.full(self.B, self.T, np.int32), np.full(self.B, self.U, np.int32)
        part = np.random.default_rng(2).uniform(0.25, 1.0, self.B)
        part[0] = 1.0
        return np.ceil(part * self.T).astype(np.int32), np.ceil(part * self.U).astype(np.int32)

    def labels(self) -> np.ndarray:
        """Tokens in [1, V), int32 ``[B, U]``; the blank is 0."""
        rng = np.random.default_rng(3)
        if self.sharp:  # the same distinct tokens in every row
            return np.tile(1 + rng.permutation(self.V - 1)[: self.U], (self.B, 1)).astype(np.int32)
        return rng.integers(1, self.V, (self.B, self.U), dtype=np.int32)

    def logits(self) -> np.ndarray:
        """Standard normal scores, float32 ``[B, T, U + 1, V]``."""
        shape = (self.B, self.T, self.U + 1, self.V)
        return np.random.default_rng(4).standard_normal(shape, dtype=np.float32)

    def joint(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Encoder and prediction projections, kernel ``[J, V]`` and bias ``[V]``, float32."""
        rng = np.random.default_rng(5)
        encoded = rng.standard_normal((self.B, self.T, JOINT_WIDTH), dtype=np.float32)
        predicted = rng.standard_normal((self.B, self.U + 1, JOINT_WIDTH), dtype=np.float32)
        kernel = rng.standard_normal((JOINT_WIDTH, self.V), dtype=np.float32) / JOINT_WIDTH**0.5
        bias = np.zeros(self.V, np.float32)
        if self.sharp:
            self._sharpen(encoded, predicted, kernel, bias)
        return encoded, predicted, kernel, bias

    def _sharpen(
        self, encoded: np.ndarray, predicted: np.ndarray, kernel: np.ndarray, bias: np.ndarray
    ) -> None:
        """Hidden unit u says at column u whether label u is due, within about two frames."""
        unit = np.arange(self.U)
        due = (unit + 0.5) * self.T / (self.U + 1)
        encoded *= 0.1
        encoded[:, :, : self.U] += (np.arange(self.T)[:, None] - due) / 2
        predicted *= 0.1
        predicted[:, :, : self.U] -= self.T  # the other columns' units say "not due" at any frame
        predicted[:, unit, unit] += self.T
        kernel *= 0.1
        kernel[unit, 0] -= 6
        kernel[unit, self.labels()[0]] += 6
        bias -= 8
        bias[self.labels()[0]] = 0
        bias[0] = -6 * (self.U - 1)
