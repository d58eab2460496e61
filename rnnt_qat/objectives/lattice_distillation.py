"""Distillation of the teacher's distributions over the arcs of the lattice."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rnnt_qat.batch import Batch, mask_from_lengths
from rnnt_qat.losses import lattice_arcs_factored
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.objectives.outputs import Outputs
from rnnt_qat.typing import Array, Bool, Float, Int

LOG_PROB_FLOOR = -14.0
"""Lowest log-probability of the labels that are neither blank nor next; about 10^-6."""


@dataclasses.dataclass(frozen=True)
class LatticeDistillation:
    """The divergence of the student's arcs from the teacher's in every cell of the lattice.

    A cell has three outcomes: the blank, the next label, and all others together. Their
    Kullback-Leibler divergence, teacher to student, is summed over frames and averaged over label
    positions. The logits of the whole lattice are never in memory at once.

    Reference: Panchapagesan et al., "Efficient Knowledge Distillation for RNN-Transducer Models"
    (2021).

    Attributes:
      chunk_frames: number of encoder frames, >= 1, whose logits are in memory at once.
    """

    chunk_frames: int = 8

    needs_teacher = True
    terms = ("lattice",)

    def __post_init__(self):
        if self.chunk_frames < 1:
            raise ValueError(f"chunk_frames is {self.chunk_frames}; it must be at least 1")

    def check(self, model: RNNTConfig) -> None:
        """Accepts any model, because every model has a lattice."""

    def __call__(
        self, outputs: Outputs, teacher: Outputs | None, batch: Batch, step: Int[Array, ""]
    ) -> Mapping[str, Float[Array, "B"]]:
        """Computes the divergence of each row, in nats.

        Raises:
          ValueError: if the lattices differ in frames or vocabulary.
        """
        del step
        assert teacher is not None
        ours, theirs = outputs.lattice, teacher.lattice
        sizes = [(x.encoded.shape[1], len(x.head.bias)) for x in (ours, theirs)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"a lattice of (frames, vocabulary) {sizes[0]} cannot imitate the teacher's "
                f"{sizes[1]}: model.encoder.time_reduction and the tokenizer must be the teacher's"
            )
        frames = mask_from_lengths(ours.encoded_lengths, ours.encoded.shape[1])
        columns = mask_from_lengths(batch.label_lengths + 1, ours.predicted.shape[1])
        cells = frames[:, :, None] & columns[:, None, :]
        student = self._outcomes(outputs, batch, cells)
        taught = jax.lax.stop_gradient(self._outcomes(teacher, batch, cells))
        divergence = sum(jnp.exp(t) * (t - s) for s, t in zip(student, taught, strict=True))
        summed = jnp.where(cells, divergence, 0.0).sum(axis=(1, 2))
        return {"lattice": summed / (batch.label_lengths + 1)}

    def _outcomes(
        self, outputs: Outputs, batch: Batch, cells: Bool[Array, "B T U1"]
    ) -> list[Float[Array, "B T U1"]]:
        """Returns log-probabilities of blank, next label and the rest; finite in every cell."""
        lattice = outputs.lattice
        head, encoded, predicted = lattice.head.on_lattice(lattice.encoded, lattice.predicted)
        blank, label = lattice_arcs_factored(
            head,
            encoded,
            predicted,
            lattice.encoded_lengths,
            batch.labels,
            batch.label_lengths,
            chunk_frames=self.chunk_frames,
        )
        blank = jnp.where(cells, blank, 2 * LOG_PROB_FLOOR)
        labelled = mask_from_lengths(batch.label_lengths, label.shape[2])[:, None, :]
        label = jnp.where(cells & labelled, label, 2 * LOG_PROB_FLOOR)  # none follows the last
        either = jnp.minimum(jnp.logaddexp(blank, label), -jnp.exp(LOG_PROB_FLOOR))
        rest = jnp.log(-jnp.expm1(either))
        return [jnp.maximum(x, 2 * LOG_PROB_FLOOR) for x in (blank, label, rest)]
