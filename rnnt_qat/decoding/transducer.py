"""Interface between a decoder and a model: five functions on arrays and one number.

Decoders depend on this protocol and not on a model class. ``rnnt_qat.models`` implements it over
bound variables, ``tests`` over lookup tables.
"""

from typing import Protocol, runtime_checkable

from rnnt_qat.typing import Array, Bool, Float, Int, Num, PyTree


@runtime_checkable
class Transducer(Protocol):
    """A model with bound variables; states are pytrees whose leaves have the leading axis B."""

    @property
    def time_reduction(self) -> int:
        """Feature frames per encoder frame; the frames of a chunk are a multiple of it."""

    def initial_encoder_state(self, batch_size: int) -> PyTree:
        """Returns the state of the encoder before the first frame."""

    def initial_prediction_state(self, batch_size: int) -> PyTree:
        """Returns the state of the prediction network before the start symbol."""

    def encode(
        self, features: Float[Array, "B T F"], mask: Bool[Array, "B T"], state: PyTree
    ) -> tuple[Num[Array, "B Tr J"], Bool[Array, "B Tr"], PyTree]:
        """Computes the encoder projections of one chunk.

        Args:
          features: feature frames; T is a multiple of ``time_reduction``.
          mask: True at valid frames.
          state: state of the encoder after the previous chunk.

        Returns:
          ``(encoded, mask, state)`` with ``Tr = T / time_reduction``.
        """

    def predict(self, label: Int[Array, "B"], state: PyTree) -> tuple[Num[Array, "B J"], PyTree]:
        """Computes the prediction projection after one more label.

        Args:
          label: last label of each row; ``BLANK_ID`` is the start symbol.
          state: state of the prediction network before the label.

        Returns:
          The projection and the state after the label.
        """

    def joint(
        self, encoded: Num[Array, "*S J"], predicted: Num[Array, "*S J"]
    ) -> Float[Array, "*S V"]:
        """Computes the logits over the vocabulary.

        Args:
          encoded: encoder projections.
          predicted: prediction projections; the two broadcast against each other.

        Returns:
          Logits in real units; under an integer policy they may tie.
        """
