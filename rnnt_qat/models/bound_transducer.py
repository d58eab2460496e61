"""A model with its variables, as the ``Transducer`` of the decoders."""

import flax.struct
import jax.numpy as jnp

from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.typing import Array, Bool, Float, Int, Num, PyTree


@flax.struct.dataclass
class BoundTransducer:
    """Implements ``decoding.transducer.Transducer``; a pytree, so it can be an argument of a jit.

    Attributes:
      variables: parameters and ranges of the model.
      model: the model.
    """

    variables: PyTree
    model: RNNT = flax.struct.field(pytree_node=False)

    @property
    def time_reduction(self) -> int:
        """Number of input frames per encoder frame."""
        return self.model.config.encoder.time_reduction

    def initial_encoder_state(self, batch_size: int) -> PyTree:
        """Returns the state of the encoder before the first frame."""
        return self._bound().encoder.initial_state(batch_size)

    def initial_prediction_state(self, batch_size: int) -> PyTree:
        """Returns the state of the prediction network before the start symbol."""
        return self._bound().prediction.initial_state(batch_size)

    def encode(
        self, features: Float[Array, "B T F"], mask: Bool[Array, "B T"], state: PyTree
    ) -> tuple[Num[Array, "B Tr J"], Bool[Array, "B Tr"], PyTree]:
        """Encodes one chunk of frames.

        Args:
          features: frames; T is a multiple of the time reduction.
          mask: True where the frame is valid.
          state: state of the encoder before the chunk.

        Returns:
          Encoder projections, their mask, and the state after the chunk.
        """
        return self._bound().encode(features, mask, state)

    def predict(self, label: Int[Array, "B"], state: PyTree) -> tuple[Num[Array, "B J"], PyTree]:
        """Advances the prediction network by one label per row.

        Args:
          label: the last label; the blank is the start symbol.
          state: state before the label.

        Returns:
          The prediction projection and the state after the label.
        """
        mask = jnp.ones((label.shape[0], 1), bool)
        predicted, state = self._bound().predict(label[:, None], mask, state)
        return predicted[:, 0], state

    def joint(
        self, encoded: Num[Array, "*S J"], predicted: Num[Array, "*S J"]
    ) -> Num[Array, "*S V"]:
        """Returns the logits of pairs of projections; the shapes broadcast."""
        return self._bound().head()(encoded, predicted)

    def _bound(self) -> RNNT:
        return self.model.bind(self.variables)
