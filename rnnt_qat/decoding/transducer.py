"""What a decoder needs of a model: five functions on arrays and one number, never a model class.

``rnnt_qat.models`` offers these over bound variables; ``tests`` offer them over lookup tables.
"""

from typing import Protocol, runtime_checkable

from rnnt_qat.typing import Array, Bool, Float, Int, Num, PyTree


@runtime_checkable
class Transducer(Protocol):
    """A recognizer with its variables bound. All states are pytrees whose leaves lead with B."""

    @property
    def time_reduction(self) -> int:
        """Feature frames per encoder frame; a chunk of features is a multiple of it."""

    def initial_encoder_state(self, batch_size: int) -> PyTree:
        """State of the encoder before the first frame."""

    def initial_prediction_state(self, batch_size: int) -> PyTree:
        """State of the prediction network before the start symbol."""

    def encode(
        self, features: Float[Array, "B T F"], mask: Bool[Array, "B T"], state: PyTree
    ) -> tuple[Num[Array, "B Tr J"], Bool[Array, "B Tr"], PyTree]:
        """One chunk of frames to encoder projections; T is a multiple of the time reduction."""

    def predict(self, label: Int[Array, "B"], state: PyTree) -> tuple[Num[Array, "B J"], PyTree]:
        """One label (the blank is the start symbol) to the prediction projection after it."""

    def joint(
        self, encoded: Num[Array, "*S J"], predicted: Num[Array, "*S J"]
    ) -> Float[Array, "*S V"]:
        """Logits over the vocabulary, in real units (on a chip they may tie); shapes broadcast."""
