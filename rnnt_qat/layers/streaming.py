"""The interface of a streaming layer: one call for a chunk or for the whole utterance.

    ys, mask, state = layer(xs, mask, state)

- ``xs [B, T, D]`` are the frames of one chunk; ``mask [B, T]`` is True where valid. Valid frames
  come first.
- ``state`` is a pytree of arrays with leading axis B; ``None`` is the state before the first frame.
- Processing an utterance in chunks, each of a multiple of ``layer.block_size`` frames, and carrying
  the state gives the same outputs, mask and final state as one call for the whole utterance.
- Invalid frames change neither the state nor valid outputs, whatever values they hold (NaN
  included).

``tests/layers/streaming_contract.py`` checks values and gradients of every layer.
"""

from typing import Protocol, runtime_checkable

from rnnt_qat.quant.operators import Value
from rnnt_qat.typing import Array, Bool, PyTree


@runtime_checkable
class StreamingLayer(Protocol):
    """A causal layer over frames."""

    @property
    def block_size(self) -> int:
        """Number of which the length of a chunk must be a multiple, in frames."""

    def initial_state(self, batch_size: int) -> PyTree:
        """Returns the state before the first frame."""

    def __call__(
        self, xs: Value, mask: Bool[Array, "B T"], state: PyTree | None = None
    ) -> tuple[Value, Bool[Array, "B To"], PyTree]:
        """Processes one chunk.

        Args:
          xs: frames ``[B, T, D]``.
          mask: True where the frame is valid.
          state: state before the chunk; None for the initial state.

        Returns:
          Outputs, their mask, and the state after the chunk.
        """
