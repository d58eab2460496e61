"""Distillation of the teacher's encoder into the student's."""

import dataclasses
from collections.abc import Mapping

from rnnt_qat.batch import Batch, mask_from_lengths
from rnnt_qat.models.rnnt import Lattice, RNNTConfig
from rnnt_qat.objectives.outputs import Outputs, squared_distance
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class EncoderDistillation:
    """The squared distance between the encoder projections of student and teacher.

    Both models must have the same ``joint_size`` and ``time_reduction``. The distance is averaged
    over the projection and summed over frames, so that it scales with the length of an utterance
    like the transducer loss.
    """

    needs_teacher = True
    terms = ("encoder",)

    def check(self, model: RNNTConfig) -> None:
        """Accepts any model, because every model has encoder projections."""

    def __call__(
        self, outputs: Outputs, teacher: Outputs | None, batch: Batch, step: Int[Array, ""]
    ) -> Mapping[str, Float[Array, "B"]]:
        """Computes the distance of each row.

        Raises:
          ValueError: if the projections of student and teacher have different shapes.
        """
        del batch, step
        assert teacher is not None
        ours, theirs = _projections(outputs.lattice), _projections(teacher.lattice)
        if ours.shape != theirs.shape:
            raise ValueError(
                f"encoder projections {ours.shape} cannot imitate the teacher's {theirs.shape}: "
                "model.joint_size and model.encoder.time_reduction must be the teacher's"
            )
        mask = mask_from_lengths(outputs.lattice.encoded_lengths, ours.shape[1])
        return {"encoder": squared_distance(ours, theirs, mask)}


def _projections(lattice: Lattice) -> Float[Array, "B Tr J"]:
    """Returns the dequantized encoder projections stored by the joint network."""
    return dequantize(lattice.head.ops.load("encoded", lattice.encoded))
