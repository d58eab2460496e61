"""The transducer loss: exact, or pruned to a band."""

import dataclasses
from collections.abc import Mapping

from rnnt_qat.batch import Batch
from rnnt_qat.losses import transducer_loss_factored, transducer_loss_pruned
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.objectives.outputs import Outputs
from rnnt_qat.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class Transducer:
    """Negative log-likelihood of the labels (Graves 2012), never holding the lattice's logits.

    Attributes:
      chunk_frames: encoder frames whose logits exist at one time: memory against speed.
      fastemit_lambda: strength of FastEmit (Yu et al. 2021); 0 is the plain likelihood.
      band_width: labels a frame that alignments may visit, found by a simple joiner (Kuang et al.
        2022; it needs ``model.simple_joiner``); 0: all of them, the exact loss.
      simple_scale: weight of the simple joiner's own loss, where there is a band.
    """

    chunk_frames: int = 8
    fastemit_lambda: float = 0.0
    band_width: int = 0
    simple_scale: float = 0.5

    needs_teacher = False

    def __post_init__(self):
        if self.band_width < 0 or self.band_width == 1:
            raise ValueError(f"band_width is {self.band_width}; it must be 0 (none) or at least 2")
        if self.chunk_frames < 1:
            raise ValueError(f"chunk_frames is {self.chunk_frames}; it must be at least 1")

    @property
    def terms(self) -> tuple[str, ...]:
        """The loss; of a band, the loss in it and the simple joiner's, scaled."""
        return ("pruned", "simple") if self.band_width else ("exact",)

    def check(self, model: RNNTConfig) -> None:
        """Raises ValueError if a band is asked for and the model has no simple joiner."""
        if self.band_width and not model.simple_joiner:
            raise ValueError(f"band_width={self.band_width} needs model.simple_joiner=True")

    def __call__(
        self, outputs: Outputs, teacher: Outputs | None, batch: Batch, step: Int[Array, ""]
    ) -> Mapping[str, Float[Array, "B"]]:
        """Returns the terms of each row, in nats."""
        del teacher, step
        lattice = outputs.lattice
        head, encoded, predicted = lattice.head.on_lattice(lattice.encoded, lattice.predicted)
        if not self.band_width:
            exact = transducer_loss_factored(
                head,
                encoded,
                predicted,
                lattice.encoded_lengths,
                batch.labels,
                batch.label_lengths,
                chunk_frames=self.chunk_frames,
                fastemit_lambda=self.fastemit_lambda,
            )
            return {"exact": exact}
        assert lattice.simple is not None
        pruned, simple = transducer_loss_pruned(
            head,
            encoded,
            predicted,
            *lattice.simple,
            lattice.encoded_lengths,
            batch.labels,
            batch.label_lengths,
            width=self.band_width,
            chunk_frames=self.chunk_frames,
            fastemit_lambda=self.fastemit_lambda,
        )
        return {"pruned": pruned, "simple": self.simple_scale * simple}
