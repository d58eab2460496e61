"""Frame-synchronous beam search with prefix merging for a whole batch inside one jitted program.

At each frame a hypothesis may emit up to ``max_symbols_per_frame`` labels and then a blank, which
finishes the frame. Hypotheses that finish the frame with the same tokens are merged: their
probabilities are added, whatever their alignments. A beam that can hold every token sequence
therefore finds the most probable sequence over all alignments with at most that many labels per
frame; a narrower beam drops the least probable hypotheses at the end of each frame.

Reference: Graves (2012), section 2.4, made frame-synchronous; the bounded expansion of a frame
follows Kim et al., "Accelerating RNN Transducer Inference via Adaptive Expansion Search" (2020).
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.decoding.hypothesis import Hypothesis
from rnnt_qat.decoding.search import select_rows
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.typing import BLANK_ID, Array, Bool, Float, Int, Num, PyTree


@dataclasses.dataclass(frozen=True)
class BeamConfig:
    """Options of the beam search.

    A beam of 1 is not greedy search. Greedy search decides symbol by symbol; a beam of 1 decides
    once per frame, for the number of labels that maximizes the probability of the whole frame along
    the chain of best labels. The two agree at every frame where greedy search emits n labels and
    each of its n + 1 decisions has a probability of at least p with ``p^(n + 1) > 1 - p``.

    Attributes:
      beam_size: hypotheses kept at the end of a frame, K.
      max_symbols_per_frame: maximum number of labels per encoder frame.
      max_tokens: capacity of a hypothesis in tokens; further tokens are only counted, in
        ``Hypothesis.overflow``.
      prune_gap: gap in nats below the best finished hypothesis beyond which a hypothesis is not
        extended within a frame; infinity extends all that could still enter the beam.
      max_pending_tokens: maximum number of undecided tokens, in which the hypotheses of the beam
        differ. If the longest hypothesis has more, the hypotheses that differ from the best one in
        the older tokens are dropped. This bounds the memory of a stream however long two
        alternatives stay in the beam.
    """

    beam_size: int = 4
    max_symbols_per_frame: int = 4
    max_tokens: int = 512
    prune_gap: float = 10.0
    max_pending_tokens: int = 256

    def __post_init__(self):
        for name in ("beam_size", "max_symbols_per_frame", "max_tokens", "max_pending_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"BeamConfig.{name} must be at least 1, got {getattr(self, name)}")
        if not self.prune_gap > 0:
            raise ValueError(f"BeamConfig.prune_gap must be positive, got {self.prune_gap}")

    def for_chunks(self, frames: int) -> "BeamConfig":
        """Returns this config with capacity for pending tokens and ``frames`` encoder frames."""
        emitted = frames * self.max_symbols_per_frame
        return dataclasses.replace(self, max_tokens=self.max_pending_tokens + emitted)

    def build(self) -> "BeamSearch":
        """Creates the search."""
        return BeamSearch(self)


@flax.struct.dataclass
class Beam:
    """Distinct hypotheses of each row and their prediction states; unused slots have -inf.

    Attributes:
      hypothesis: hypotheses, leaves ``[B, K, ...]``; ``log_prob`` is -inf in unused slots.
      predicted: prediction projection after the last label of each hypothesis.
      prediction_state: state of the prediction network after it, leaves ``[B, K, ...]``.
    """

    hypothesis: Hypothesis
    predicted: Num[Array, "B K J"]
    prediction_state: PyTree

    @property
    def log_prob(self) -> Float[Array, "B K"]:
        """Log-probability of each hypothesis; a JAX array even if the state is on the host."""
        return jnp.asarray(self.hypothesis.log_prob)

    def with_log_prob(self, log_prob: Array) -> "Beam":
        """Replaces the log-probabilities by ``log_prob`` ``[B, K]``."""
        hypothesis = dataclasses.replace(self.hypothesis, log_prob=log_prob)
        return dataclasses.replace(self, hypothesis=hypothesis)

    def after_blank(self, log_prob: Array) -> "Beam":
        """Extends each hypothesis by a blank of log-probability ``log_prob`` ``[B, K]``."""
        hypothesis = dataclasses.replace(
            self.hypothesis,
            log_prob=self.log_prob + log_prob,
            blank_log_prob=self.hypothesis.blank_log_prob + log_prob,
        )
        return dataclasses.replace(self, hypothesis=hypothesis)


@flax.struct.dataclass
class BeamState:
    """State of the beam search between two chunks.

    Attributes:
      beam: hypotheses, most probable first, each summed over its alignments in the beam. Their
        log-probabilities are relative to the best one: absolute values decrease with every frame,
        until float32 cannot distinguish two hypotheses of a long stream.
      best_log_prob: log-probability of the best hypothesis since the start of the search.
      frames: valid encoder frames processed so far.
    """

    beam: Beam
    best_log_prob: Float[Array, "B"]
    frames: Int[Array, "B"]


@dataclasses.dataclass(frozen=True)
class BeamSearch:
    """Beam ``Search``.

    ``Hypothesis.log_prob`` sums over the alignments that stayed in the beam. When two hypotheses
    merge, ``emission_frames`` and ``token_log_probs`` are taken from the more probable one. For the
    common prefix of the beam they are those of the hypothesis that was best when the prefix was
    decided.

    Attributes:
      config: options of the search.
    """

    config: BeamConfig

    def initial_state(self, transducer: Transducer, batch_size: int) -> BeamState:
        """Returns the state before the first encoder frame: one empty hypothesis per row."""
        shape = batch_size, self.config.beam_size
        rows = batch_size * self.config.beam_size
        predicted, prediction_state = transducer.predict(
            jnp.full((rows,), BLANK_ID, jnp.int32), transducer.initial_prediction_state(rows)
        )
        beam = Beam(
            Hypothesis.empty(shape, self.config.max_tokens),
            *_unflatten((predicted, prediction_state), shape),
        )
        first = jnp.arange(self.config.beam_size) == 0
        beam = beam.with_log_prob(jnp.broadcast_to(jnp.where(first, 0.0, -jnp.inf), shape))
        return BeamState(
            beam, jnp.zeros((batch_size,), jnp.float32), jnp.zeros((batch_size,), jnp.int32)
        )

    def hypothesis(self, state: BeamState) -> Hypothesis:
        """Returns the most probable hypothesis."""
        return jax.tree.map(lambda x: x[:, 0], self.alternatives(state))

    def alternatives(self, state: BeamState) -> Hypothesis:
        """Returns all K hypotheses, most probable first."""
        log_prob = state.beam.log_prob + state.best_log_prob[:, None]
        return state.beam.with_log_prob(log_prob).hypothesis

    def hand_over(self, state: BeamState) -> tuple[Hypothesis, BeamState]:
        """Returns the common prefix of all hypotheses, and the state without it."""
        held = state.beam.hypothesis
        shared = _shared_tokens(held)
        handed = self.hypothesis(state).first(shared)
        beam = dataclasses.replace(state.beam, hypothesis=held.without_first(shared[:, None]))
        return handed, dataclasses.replace(state, beam=beam)

    def step(
        self,
        transducer: Transducer,
        encoded: Num[Array, "B T J"],
        mask: Bool[Array, "B T"],
        state: BeamState,
    ) -> BeamState:
        """Processes one chunk, frame by frame.

        Args:
          transducer: the model.
          encoded: encoder projections of the chunk.
          mask: True at valid frames.
          state: state after the previous chunk.

        Returns:
          The state after the chunk.
        """

        def frame(state, encoded_and_valid):
            encoded_frame, valid = encoded_and_valid  # [B, J], [B]
            beam = self._frame(transducer, encoded_frame, valid, state.beam, state.frames)
            beam = self._decide(beam)
            best = beam.log_prob[:, 0]
            # If every blank has probability zero, no hypothesis finishes the frame.
            best = jnp.where(jnp.isfinite(best), best, 0.0)
            relative = beam.with_log_prob(beam.log_prob - best[:, None])
            return BeamState(
                beam=select_rows(valid, relative, state.beam),
                best_log_prob=state.best_log_prob + jnp.where(valid, best, 0.0),
                frames=state.frames + valid,
            ), None

        state, _ = jax.lax.scan(frame, state, (jnp.moveaxis(encoded, 1, 0), mask.T))
        return state

    def _frame(
        self,
        transducer: Transducer,
        encoded: Num[Array, "B J"],
        valid: Bool[Array, "B"],
        beam: Beam,
        frames: Int[Array, "B"],
    ) -> Beam:
        """Advances all hypotheses by one frame; rows that are not ``valid`` are undefined."""
        B, K = beam.log_prob.shape

        def alive(carry):
            symbols, active, _ = carry
            return (symbols <= self.config.max_symbols_per_frame) & jnp.any(
                active.log_prob > -jnp.inf
            )

        def expand(carry):
            # active: hypotheses with `symbols` labels and no blank at this frame.
            symbols, active, finished = carry
            logits = transducer.joint(encoded[:, None, :], active.predicted)  # [B, K, V]
            log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)

            blank = active.after_blank(log_probs[:, :, BLANK_ID])
            finished = _best(_merge(finished, blank), K)

            # The extensions of all hypotheses compete for K slots.
            extended = active.log_prob[:, :, None] + log_probs.at[:, :, BLANK_ID].set(-jnp.inf)
            log_prob, chosen = jax.lax.top_k(extended.reshape(B, -1), K)  # [B, K]
            parent, label = jnp.divmod(chosen.astype(jnp.int32), logits.shape[-1])
            # Extending a hypothesis only lowers its probability, so one that is below all K
            # finished hypotheses cannot enter the beam.
            floor = jnp.maximum(
                finished.log_prob[:, -1:], finished.log_prob[:, :1] - self.config.prune_gap
            )
            goes_on = (log_prob > floor) & (symbols < self.config.max_symbols_per_frame)
            log_prob = jnp.where(goes_on, log_prob, -jnp.inf)

            def extend(active):
                parents = _gather(active, parent)
                predicted, prediction_state = transducer.predict(
                    label.reshape(-1), _flatten(parents.prediction_state)
                )
                label_log_prob = jnp.take_along_axis(log_probs.reshape(B, -1), chosen, axis=1)
                hypothesis = parents.hypothesis.append(
                    label, frames[:, None], label_log_prob, goes_on
                )
                return Beam(hypothesis, *_unflatten((predicted, prediction_state), (B, K)))

            active = jax.lax.cond(jnp.any(goes_on), extend, lambda active: active, active)
            return symbols + 1, active.with_log_prob(log_prob), finished

        active = beam.with_log_prob(jnp.where(valid[:, None], beam.log_prob, -jnp.inf))
        none = beam.with_log_prob(jnp.full((B, K), -jnp.inf))
        _, _, finished = jax.lax.while_loop(alive, expand, (jnp.int32(0), active, none))
        return finished

    def _decide(self, beam: Beam) -> Beam:
        """Drops the hypotheses that keep too many tokens undecided; the best one always stays.

        Tokens are counted back from the end of the longest hypothesis, so the result does not
        depend on how much of the common prefix has been handed over. The common prefix is decided:
        its emission frames and log-probabilities become those of the best hypothesis now, so they
        do not depend on when the prefix is handed over.
        """
        held = beam.hypothesis
        pending = self.config.max_pending_tokens
        best = jax.tree.map(lambda x: x[:, :1], held)
        alive = held.log_prob > -jnp.inf
        # Drop hypotheses that exceed the best one by more than the limit before measuring the
        # longest: otherwise the limit would reach past the end of the best one.
        kept = alive & (held.length - best.length <= pending)
        longest = jnp.max(jnp.where(kept, held.length, 0), axis=1, keepdims=True)
        decided = (longest - pending)[:, :, None]  # [B, 1, 1] tokens of the best hypothesis
        older = jnp.arange(held.tokens.shape[-1]) < decided
        agrees = jnp.all((held.tokens == best.tokens) | ~older, axis=-1)  # [B, K]
        held = dataclasses.replace(held, log_prob=jnp.where(kept & agrees, held.log_prob, -jnp.inf))
        shared = jnp.arange(held.tokens.shape[-1]) < _shared_tokens(held)[:, None, None]
        held = dataclasses.replace(
            held,
            emission_frames=jnp.where(shared, best.emission_frames, held.emission_frames),
            token_log_probs=jnp.where(shared, best.token_log_probs, held.token_log_probs),
        )
        return dataclasses.replace(beam, hypothesis=held)


def _shared_tokens(held: Hypothesis) -> Int[Array, "B"]:
    """Returns the length of the common prefix of the hypotheses ``[B, K]`` of each row."""
    empty = ~(held.log_prob > -jnp.inf)  # the tokens of unused slots are arbitrary
    agree = jnp.all((held.tokens == held.tokens[:, :1]) | empty[:, :, None], axis=1)
    shortest = jnp.min(jnp.where(empty, held.tokens.shape[-1], held.length), axis=1)
    return jnp.minimum(jnp.sum(jnp.cumprod(agree, axis=1), axis=1), shortest).astype(jnp.int32)


def _merge(finished: Beam, new: Beam) -> Beam:
    """Concatenates two beams to ``[B, 2K]`` and merges hypotheses with equal tokens.

    The probability of a new hypothesis is added to the finished one with the same tokens. Token
    sequences are distinct within each beam, so a hypothesis matches at most one other. Hypotheses
    with overflow have lost tokens; they cannot be compared and are never merged.
    """
    a, b = finished.hypothesis, new.hypothesis
    whole = (a.overflow == 0)[:, :, None] & (b.overflow == 0)[:, None, :]
    same_length = a.length[:, :, None] == b.length[:, None, :]
    same_tokens = jnp.all(a.tokens[:, :, None, :] == b.tokens[:, None, :, :], axis=-1)
    # A slot whose log_prob is -inf is unused; its tokens are arbitrary.
    both = (a.log_prob > -jnp.inf)[:, :, None] & (b.log_prob > -jnp.inf)[:, None, :]
    match = whole & same_length & same_tokens & both  # [B, K finished, K new]

    share = jnp.max(jnp.where(match, b.log_prob[:, None, :], -jnp.inf), axis=2)  # [B, K]
    source = jnp.argmax(match, axis=2)  # [B, K]
    likelier = share > a.log_prob  # [B, K]: report the new one's alignment

    def of_likelier(name: str) -> Array:
        ours, theirs = getattr(a, name), getattr(b, name)
        ones = (1,) * (ours.ndim - 2)
        shared = jnp.take_along_axis(theirs, source.reshape(*source.shape, *ones), axis=1)
        return jnp.where(likelier.reshape(*likelier.shape, *ones), shared, ours)

    a = dataclasses.replace(
        a,
        log_prob=jnp.logaddexp(a.log_prob, share),
        emission_frames=of_likelier("emission_frames"),
        token_log_probs=of_likelier("token_log_probs"),
        blank_log_prob=of_likelier("blank_log_prob"),
    )
    b = dataclasses.replace(b, log_prob=jnp.where(jnp.any(match, axis=1), -jnp.inf, b.log_prob))
    return jax.tree.map(
        lambda x, y: jnp.concatenate([x, y], axis=1),
        dataclasses.replace(finished, hypothesis=a),
        dataclasses.replace(new, hypothesis=b),
    )


def _best(beam: Beam, size: int) -> Beam:
    """Selects the ``size`` most probable hypotheses, most probable first."""
    _, places = jax.lax.top_k(beam.log_prob, size)
    return _gather(beam, places)


def _gather(tree: PyTree, places: Int[Array, "B K"]) -> PyTree:
    """Gathers ``places`` along axis 1: leaves ``[B, M, ...]`` become ``[B, K, ...]``."""

    def take(x):
        return jnp.take_along_axis(x, places.reshape(places.shape + (1,) * (x.ndim - 2)), axis=1)

    return jax.tree.map(take, tree)


def _flatten(tree: PyTree) -> PyTree:
    """Reshapes leaves ``[B, K, ...]`` to ``[B * K, ...]``, the batch of the prediction network."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _unflatten(tree: PyTree, shape: tuple[int, int]) -> PyTree:
    """Inverts ``_flatten``."""
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), tree)
