"""Random lattices that every contestant of ``benchmarks.loss`` gets alike (NumPy alone)."""

from dataclasses import dataclass

import numpy as np

JOINT_WIDTH = 256


@dataclass(frozen=True)
class Case:
    """Sizes of a batch: ``U`` labels, ``V`` with the blank; ragged or all of full length."""

    B: int
    T: int
    U: int
    V: int
    ragged: bool = False

    @classmethod
    def parse(cls, text: str) -> "Case":
        """From ``"8,200,50,512"`` or ``"8,200,50,512,ragged"``."""
        sizes, ragged = text.removesuffix(",ragged"), text.endswith(",ragged")
        B, T, U, V = map(int, sizes.split(","))
        return cls(B, T, U, V, ragged)

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Frames and labels a row, int32; ragged: from a quarter of the longest to all of it."""
        if not self.ragged:
            return np.full(self.B, self.T, np.int32), np.full(self.B, self.U, np.int32)
        part = np.random.default_rng(2).uniform(0.25, 1.0, self.B)
        part[0] = 1.0
        return np.ceil(part * self.T).astype(np.int32), np.ceil(part * self.U).astype(np.int32)

    def labels(self) -> np.ndarray:
        """Tokens in [1, V), int32 ``[B, U]``; the blank is 0."""
        return np.random.default_rng(3).integers(1, self.V, (self.B, self.U), dtype=np.int32)

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
        return encoded, predicted, kernel, np.zeros(self.V, np.float32)
