"""CTC beside the transducer, on the encoder alone."""

import dataclasses
from collections.abc import Mapping

from rnnt_qat.batch import Batch
from rnnt_qat.losses import ctc_loss
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.objectives.outputs import Outputs
from rnnt_qat.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class CTC:
    """The encoder's own CTC loss (Graves et al. 2006).

    A little of it spares a small corpus the long start in which only the prediction network learns.
    """

    needs_teacher = False
    terms = ("ctc",)

    def check(self, model: RNNTConfig) -> None:
        """Raises ValueError if the model has no CTC head."""
        if not model.ctc_head:
            raise ValueError("the CTC objective needs model.ctc_head=True")

    def __call__(
        self, outputs: Outputs, teacher: Outputs | None, batch: Batch, step: Int[Array, ""]
    ) -> Mapping[str, Float[Array, "B"]]:
        """Returns the loss of each row, in nats."""
        del teacher, step
        lattice = outputs.lattice
        assert lattice.ctc_logits is not None
        lengths = lattice.encoded_lengths
        loss = ctc_loss(lattice.ctc_logits, lengths, batch.labels, batch.label_lengths)
        return {"ctc": loss}
