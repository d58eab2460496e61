"""The contract of a streaming layer: one call for a chunk or for the whole utterance.

    ys, mask, state = layer(xs, mask, state)

- ``xs [B, T, D]`` frames of one chunk, ``mask [B, T]`` True where valid; valid frames come first.
- ``state`` is a pytree of arrays that lead with B; ``None`` means before the first frame.
- Feeding an utterance chunk by chunk, in chunks of any multiple of ``layer.block_size`` frames, and
  carrying the state gives what one call on the whole gives: the same outputs, mask and final state.
- Invalid frames change neither state nor valid outputs, whatever they hold (NaN included).

``tests/layers/streaming_contract.py`` checks this for every layer, values and gradients.
"""

from typing import Protocol, runtime_checkable

from rnnt_qat.quant.operators import Value
from rnnt_qat.typing import Array, Bool, PyTree


@runtime_checkable
class StreamingLayer(Protocol):
    """A causal layer over frames."""

    @property
    def block_size(self) -> int:
        """Frames that a chunk's length must be a multiple of."""

    def initial_state(self, batch_size: int) -> PyTree:
        """State before the first frame."""

    def __call__(
        self, xs: Value, mask: Bool[Array, "B T"], state: PyTree | None = None
    ) -> tuple[Value, Bool[Array, "B To"], PyTree]:
        """Outputs, their mask and the state after the chunk."""
