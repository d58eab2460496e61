"""Targets for recurrent states from a teacher."""

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import Literal

import jax.numpy as jnp

from rnnt_qat.batch import Batch
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.objectives.outputs import Outputs, squared_distance
from rnnt_qat.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class RecurrentStates:
    """The squared distance between LSTM states of student and teacher, summed over the layers.

    As in full-FORCE training, the teacher runs beside the student on the same input and gives every
    unit a target at every frame, not only the outputs. Distances are averaged over units and summed
    over frames. Two objectives of this class, one per kind of state, have weights and schedules of
    their own. With ``model.teacher_width``, the student's states are projected to that width first.

    Reference: DePasquale et al., "full-FORCE: A target-based method for training recurrent
    networks" (2018).

    Attributes:
      state: the kind of state that is compared.
      pattern: shell pattern over the module paths of the layers. Only layers of the encoder have
        projections.
    """

    state: Literal["hidden", "cell"] = "hidden"
    pattern: str = "encoder/*"

    needs_teacher = True

    @property
    def terms(self) -> tuple[str, ...]:
        """The kind of state."""
        return (self.state,)

    def check(self, model: RNNTConfig) -> None:
        """Accepts any model: which layers have cells is known only when they are called."""

    def __call__(
        self, outputs: Outputs, teacher: Outputs | None, batch: Batch, step: Int[Array, ""]
    ) -> Mapping[str, Float[Array, "B"]]:
        """Computes the distance of each row.

        Raises:
          ValueError: if no LSTM matches the pattern, or the teacher has no such states.
        """
        del batch, step
        assert teacher is not None
        paths = [path for path in outputs.cells if fnmatch.fnmatchcase(path, self.pattern)]
        if not paths:
            raise ValueError(
                f"pattern {self.pattern!r} matches no LSTM of this model; there are "
                f"{', '.join(outputs.cells) or 'none'}"
            )
        distances = [self._distance(path, outputs, teacher) for path in paths]
        return {self.state: sum(distances[1:], start=distances[0])}

    def _distance(self, path: str, outputs: Outputs, teacher: Outputs) -> Float[Array, "B"]:
        if path not in teacher.cells:
            raise ValueError(
                f"the teacher has no LSTM {path!r}; it has {', '.join(teacher.cells) or 'none'}"
            )
        ours, mask = getattr(outputs.cells[path], self.state), outputs.cells[path].mask
        theirs = getattr(teacher.cells[path], self.state)
        in_encoder = [name for name in outputs.cells if name.startswith("encoder/")]
        if outputs.lattice.state_projections and path in in_encoder:
            kernel = outputs.lattice.state_projections[in_encoder.index(path)][self.state]
            ours = jnp.where(mask[..., None], ours, 0.0).astype(jnp.float32) @ kernel
        if ours.shape != theirs.shape:
            raise ValueError(
                f"states {ours.shape} of {path!r} cannot imitate the teacher's {theirs.shape}: set "
                "model.teacher_width to the width of its encoder, and time_reduction and "
                "layers_before_reduction as it has them"
            )
        return squared_distance(ours, theirs, mask)
