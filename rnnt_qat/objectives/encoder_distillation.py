"""Distillation: the student's encoder imitates the teacher's."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp

from rnnt_qat.batch import Batch, mask_from_lengths
from rnnt_qat.models.rnnt import Lattice, RNNTConfig
from rnnt_qat.objectives.outputs import Outputs
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class EncoderDistillation:
    """Squared distance between the encoder projections of student and teacher.

    Both must have the same ``joint_size`` and ``time_reduction``; all else may differ. The term is
    the mean over the projection, summed over the frames, so that it grows with an utterance as the
    transducer's does.
    """

    needs_teacher = True
    terms = ("encoder",)

    def check(self, model: RNNTConfig) -> None:
        """Any model has encoder projections."""

    def __call__(
        self, outputs: Outputs, teacher: Outputs | None, batch: Batch, step: Int[Array, ""]
    ) -> Mapping[str, Float[Array, "B"]]:
        """Returns the distance of each row.

        Raises:
          ValueError: the projections of the two have different shapes.
        """
        del batch, step
        assert teacher is not None
        ours, theirs = _projections(outputs.lattice), _projections(teacher.lattice)
        if ours.shape != theirs.shape:
            raise ValueError(
                f"encoder projections {ours.shape} cannot imitate the teacher's {theirs.shape}: "
                "model.joint_size and model.encoder.time_reduction must be the teacher's"
            )
        distance = jnp.mean((ours - theirs) ** 2, axis=-1)
        mask = mask_from_lengths(outputs.lattice.encoded_lengths, ours.shape[1])
        return {"encoder": jnp.where(mask, distance, 0.0).sum(axis=1)}


def _projections(lattice: Lattice) -> Float[Array, "B Tr J"]:
    """The real values of what the joint stores."""
    stored = dequantize(lattice.head.ops.load("encoded", lattice.encoded))
    # Selected before the square: what stands in the padding must not reach the gradient.
    mask = mask_from_lengths(lattice.encoded_lengths, stored.shape[1])
    return jnp.where(mask[..., None], stored, 0.0).astype(jnp.float32)
