"""What the chunk driver needs of a search, and masked updates of its states."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from rnnt_qat.decoding.hypothesis import Hypothesis
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.typing import Array, Bool, Num, PyTree


@runtime_checkable
class Search(Protocol):
    """A streaming search over encoder frames; its state is a pytree whose leaves lead with B.

    The state has a field ``frames``: int32 [B], valid encoder frames since the stream began.
    """

    def initial_state(self, transducer: Transducer, batch_size: int) -> PyTree:
        """State before the first encoder frame; the start symbol has been heard."""

    def step(
        self,
        transducer: Transducer,
        encoded: Num[Array, "B T J"],
        mask: Bool[Array, "B T"],
        state: PyTree,
    ) -> PyTree:
        """Search on through one chunk of encoder frames; the same result for every chunking."""

    def hypothesis(self, state: PyTree) -> Hypothesis:
        """The best hypothesis so far: a partial in mid-stream, the result after the last chunk.

        Of a stream whose tokens are handed over, what of it is not handed over yet.
        """

    def alternatives(self, state: PyTree) -> Hypothesis:
        """All hypotheses ``[B, K]``, the best one first; ``log_prob`` -inf marks an empty place."""

    def hand_over(self, state: PyTree) -> tuple[Hypothesis, PyTree]:
        """Tokens that nothing heard later can change, and the state with their room free again.

        The search goes on as if they were still held: handing over, at whatever frames, changes no
        later token.
        """


@runtime_checkable
class SearchConfig(Protocol):
    """Options of a search, e.g. ``GreedyConfig`` or ``BeamConfig``."""

    def for_chunks(self, frames: int) -> "SearchConfig":
        """The same search with room for the tokens of a chunk of ``frames`` encoder frames.

        Enough for a stream whose tokens are handed over after every chunk, however long it is.
        """

    def build(self) -> Search:
        """The search with these options."""


def select_rows(condition: Bool[Array, "B"], new: PyTree, old: PyTree) -> PyTree:
    """Leaf by leaf, the rows of ``new`` where ``condition`` is True, else those of ``old``."""

    def select(a: Array, b: Array) -> Array:
        return jnp.where(condition.reshape((-1,) + (1,) * (b.ndim - 1)), a, b)

    return jax.tree.map(select, new, old)
