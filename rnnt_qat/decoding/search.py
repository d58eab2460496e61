"""Interface between a search and the chunk driver, and the row-wise selection of states."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from rnnt_qat.decoding.hypothesis import Hypothesis
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.typing import Array, Bool, Num, PyTree


@runtime_checkable
class Search(Protocol):
    """A streaming search over encoder frames.

    The state is a pytree; the leading axis of each leaf is the batch, B. It has a field ``frames``:
    int32 ``[B]``, the number of valid encoder frames since the start of the stream.
    """

    def initial_state(self, transducer: Transducer, batch_size: int) -> PyTree:
        """Returns the state before the first encoder frame, after the start symbol."""

    def step(
        self,
        transducer: Transducer,
        encoded: Num[Array, "B T J"],
        mask: Bool[Array, "B T"],
        state: PyTree,
    ) -> PyTree:
        """Processes one chunk of encoder frames; the result does not depend on the chunking.

        Args:
          transducer: the model.
          encoded: encoder projections of the chunk.
          mask: True at valid frames, which precede the invalid ones in every row.
          state: state after the previous chunk.

        Returns:
          The state after the chunk.
        """

    def hypothesis(self, state: PyTree) -> Hypothesis:
        """Returns the best hypothesis: partial during the stream, final after the last chunk.

        It excludes the tokens that have been handed over.
        """

    def alternatives(self, state: PyTree) -> Hypothesis:
        """Returns all hypotheses ``[B, K]``, best first; ``log_prob`` is -inf in unused slots."""

    def hand_over(self, state: PyTree) -> tuple[Hypothesis, PyTree]:
        """Returns the tokens that can no longer change, and the state without them.

        Handing over frees the capacity of these tokens. It has no effect on later tokens, at
        whichever frames it is done.
        """


@runtime_checkable
class SearchConfig(Protocol):
    """Options of a search, e.g. ``GreedyConfig`` or ``BeamConfig``."""

    def for_chunks(self, frames: int) -> "SearchConfig":
        """Returns this config with capacity for the tokens of ``frames`` encoder frames.

        That is sufficient for a stream of any length whose tokens are handed over after each chunk
        of at most ``frames`` frames.
        """

    def build(self) -> Search:
        """Creates the search."""


def select_rows(condition: Bool[Array, "B"], new: PyTree, old: PyTree) -> PyTree:
    """Selects, in each leaf, the rows of ``new`` where ``condition`` is True, else of ``old``."""

    def select(a: Array, b: Array) -> Array:
        return jnp.where(condition.reshape((-1,) + (1,) * (b.ndim - 1)), a, b)

    return jax.tree.map(select, new, old)
