"""Frame-synchronous beam search with prefix merging, a whole batch inside one program.

At a frame every hypothesis may emit up to ``max_symbols_per_frame`` labels and then a blank, which
finishes the frame. Hypotheses that finish it with the same tokens, by whatever alignment, are one:
their probabilities add up. So a beam wide enough to hold every token sequence finds the likeliest
sequence over all alignments of so many symbols a frame, exactly; a narrower beam drops the least
likely hypotheses at the end of each frame.

Reference: Graves (2012), section 2.4, made frame-synchronous; the bounded expansion of a frame
after Kim et al., "Accelerating RNN Transducer Inference via Adaptive Expansion Search" (2020).
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

    A beam of 1 is not greedy search: greedy decides symbol by symbol, a beam of 1 frame by frame,
    for the number of labels that makes the frame as a whole likeliest along the chain of best
    labels. The two agree at every frame where greedy emits n labels and gives each of its n + 1
    decisions a probability of at least p with ``p^(n + 1) > 1 - p``.

    Attributes:
      beam_size: hypotheses kept at the end of a frame, K.
      max_symbols_per_frame: labels that one encoder frame may emit.
      max_tokens: tokens a hypothesis can hold; more are counted in ``Hypothesis.overflow``.
      prune_gap: within a frame, hypotheses more than this (nats) below the best finished one are
        not extended; infinity extends all that could still enter the beam.
      max_pending_tokens: most tokens that may stay undecided, because hypotheses of the beam differ
        in them. When the longest has more, those that contradict the best one's older tokens are
        dropped, so a stream needs no more room however long two readings stay alive.
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
        """The same search with room for undecided tokens and a chunk of ``frames`` more frames."""
        emitted = frames * self.max_symbols_per_frame
        return dataclasses.replace(self, max_tokens=self.max_pending_tokens + emitted)

    def build(self) -> "BeamSearch":
        """The search with these options."""
        return BeamSearch(self)


@flax.struct.dataclass
class Beam:
    """Distinct hypotheses of each row with their prediction networks; ``log_prob`` -inf is none.

    Attributes:
      hypothesis: leaves lead with [B, K].
      predicted: prediction projection after each hypothesis' last label.
      prediction_state: the prediction network's state after it; leaves lead with [B, K].
    """

    hypothesis: Hypothesis
    predicted: Num[Array, "B K J"]
    prediction_state: PyTree

    @property
    def log_prob(self) -> Array:
        """``[B, K]`` log-probability of each hypothesis."""
        return self.hypothesis.log_prob

    def with_log_prob(self, log_prob: Array) -> "Beam":
        """The same hypotheses at other probabilities."""
        hypothesis = dataclasses.replace(self.hypothesis, log_prob=log_prob)
        return dataclasses.replace(self, hypothesis=hypothesis)

    def after_blank(self, log_prob: Array) -> "Beam":
        """The same hypotheses after a blank of ``log_prob`` ``[B, K]``."""
        hypothesis = dataclasses.replace(
            self.hypothesis,
            log_prob=self.log_prob + log_prob,
            blank_log_prob=self.hypothesis.blank_log_prob + log_prob,
        )
        return dataclasses.replace(self, hypothesis=hypothesis)


@flax.struct.dataclass
class BeamState:
    """What beam search carries from chunk to chunk.

    Attributes:
      beam: likeliest hypothesis first, summed over the alignments that the beam held. Its
        log-probabilities are relative to the best one's: over a day of frames they would fall until
        float32 no longer tells two hypotheses apart.
      best_log_prob: log-probability of the best hypothesis since the search began.
      frames: valid encoder frames heard.
    """

    beam: Beam
    best_log_prob: Float[Array, "B"]
    frames: Int[Array, "B"]


@dataclasses.dataclass(frozen=True)
class BeamSearch:
    """Beam ``Search``. ``Hypothesis.log_prob`` sums the alignments that were followed.

    Of the alignments of one hypothesis, ``emission_frames`` are those of the likeliest group: where
    two hypotheses merge, the likelier one's stay. Those of tokens that the whole beam begins with
    are the best hypothesis' when the beam came to agree on them.
    """

    config: BeamConfig

    def initial_state(self, transducer: Transducer, batch_size: int) -> BeamState:
        """State before the first encoder frame: one empty hypothesis a row."""
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
        """The likeliest hypothesis."""
        return jax.tree.map(lambda x: x[:, 0], self.alternatives(state))

    def alternatives(self, state: BeamState) -> Hypothesis:
        """All K, likeliest first."""
        log_prob = state.beam.log_prob + state.best_log_prob[:, None]
        return state.beam.with_log_prob(log_prob).hypothesis

    def hand_over(self, state: BeamState) -> tuple[Hypothesis, BeamState]:
        """The tokens that all hypotheses begin with."""
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
        """Search through one chunk."""

        def frame(state, encoded_and_valid):
            encoded_frame, valid = encoded_and_valid  # [B, J], [B]
            beam = self._frame(transducer, encoded_frame, valid, state.beam, state.frames)
            beam = self._decide(beam)
            best = beam.log_prob[:, 0]
            # A network that gives the blank no probability at all leaves no finished hypothesis.
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
        """All hypotheses through one frame; rows that are not ``valid`` come out undefined."""
        B, K = beam.log_prob.shape

        def alive(carry):
            symbols, active, _ = carry
            return (symbols <= self.config.max_symbols_per_frame) & jnp.any(
                active.log_prob > -jnp.inf
            )

        def expand(carry):
            # active: hypotheses that have emitted `symbols` labels at this frame and no blank yet.
            symbols, active, finished = carry
            logits = transducer.joint(encoded[:, None, :], active.predicted)  # [B, K, V]
            log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)

            blank = active.after_blank(log_probs[:, :, BLANK_ID])
            finished = _best(_merge(finished, blank), K)

            # The labels of all hypotheses compete for K places.
            extended = active.log_prob[:, :, None] + log_probs.at[:, :, BLANK_ID].set(-jnp.inf)
            log_prob, chosen = jax.lax.top_k(extended.reshape(B, -1), K)  # [B, K]
            parent, label = jnp.divmod(chosen.astype(jnp.int32), logits.shape[-1])
            # A hypothesis below all K finished ones cannot pass them: probabilities only fall.
            floor = jnp.maximum(
                finished.log_prob[:, -1:], finished.log_prob[:, :1] - self.config.prune_gap
            )
            goes_on = (log_prob > floor) & (symbols < self.config.max_symbols_per_frame)
            log_prob = jnp.where(goes_on, log_prob, -jnp.inf)

            def hear(active):
                parents = _gather(active, parent)
                predicted, prediction_state = transducer.predict(
                    label.reshape(-1), _flatten(parents.prediction_state)
                )
                label_log_prob = jnp.take_along_axis(log_probs.reshape(B, -1), chosen, axis=1)
                hypothesis = parents.hypothesis.append(
                    label, frames[:, None], label_log_prob, goes_on
                )
                return Beam(hypothesis, *_unflatten((predicted, prediction_state), (B, K)))

            active = jax.lax.cond(jnp.any(goes_on), hear, lambda active: active, active)
            return symbols + 1, active.with_log_prob(log_prob), finished

        active = beam.with_log_prob(jnp.where(valid[:, None], beam.log_prob, -jnp.inf))
        none = beam.with_log_prob(jnp.full((B, K), -jnp.inf))
        _, _, finished = jax.lax.while_loop(alive, expand, (jnp.int32(0), active, none))
        return finished

    def _decide(self, beam: Beam) -> Beam:
        """The beam without hypotheses that keep too many tokens undecided; the best one stays.

        Counted from the longest hypothesis back, so it does not matter how many of the tokens that
        all share have been handed over. What all share is decided: its times and probabilities are
        from now on those of the best one, whenever it is handed over.
        """
        held = beam.hypothesis
        pending = self.config.max_pending_tokens
        best = jax.tree.map(lambda x: x[:, :1], held)
        alive = held.log_prob > -jnp.inf
        # One far longer than the best would have to be kept apart from it: it goes first.
        kept = alive & (held.length - best.length <= pending)
        longest = jnp.max(jnp.where(kept, held.length, 0), axis=1, keepdims=True)
        decided = (longest - pending)[:, :, None]  # [B, 1, 1] tokens of the best one
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
    """Tokens that all hypotheses of a row ``[B, K]`` begin with."""
    empty = ~(held.log_prob > -jnp.inf)  # whatever tokens lie there do not count
    agree = jnp.all((held.tokens == held.tokens[:, :1]) | empty[:, :, None], axis=1)
    shortest = jnp.min(jnp.where(empty, held.tokens.shape[-1], held.length), axis=1)
    return jnp.minimum(jnp.sum(jnp.cumprod(agree, axis=1), axis=1), shortest).astype(jnp.int32)


def _merge(finished: Beam, new: Beam) -> Beam:
    """Both side by side, ``[B, 2K]``; a new hypothesis of tokens already finished gives its share.

    Each of the two holds no tokens twice, so no more than one pair can match. Hypotheses that have
    lost tokens cannot be compared and are never merged.
    """
    a, b = finished.hypothesis, new.hypothesis
    whole = (a.overflow == 0)[:, :, None] & (b.overflow == 0)[:, None, :]
    same_length = a.length[:, :, None] == b.length[:, None, :]
    same_tokens = jnp.all(a.tokens[:, :, None, :] == b.tokens[:, None, :, :], axis=-1)
    # A place whose log_prob is -inf is empty, whatever tokens lie in it.
    both = (a.log_prob > -jnp.inf)[:, :, None] & (b.log_prob > -jnp.inf)[:, None, :]
    match = whole & same_length & same_tokens & both  # [B, K finished, K new]

    share = jnp.max(jnp.where(match, b.log_prob[:, None, :], -jnp.inf), axis=2)  # [B, K]
    source = jnp.argmax(match, axis=2)  # [B, K]
    likelier = share > a.log_prob  # [B, K]: the new one's alignment is the one that is told

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
    """The ``size`` likeliest hypotheses, likeliest first."""
    _, places = jax.lax.top_k(beam.log_prob, size)
    return _gather(beam, places)


def _gather(tree: PyTree, places: Int[Array, "B K"]) -> PyTree:
    """Leaves ``[B, M, ...]`` to ``[B, K, ...]``."""

    def take(x):
        return jnp.take_along_axis(x, places.reshape(places.shape + (1,) * (x.ndim - 2)), axis=1)

    return jax.tree.map(take, tree)


def _flatten(tree: PyTree) -> PyTree:
    """Leaves ``[B, K, ...]`` to ``[B * K, ...]``: hypotheses are the prediction network's rows."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _unflatten(tree: PyTree, shape: tuple[int, int]) -> PyTree:
    """Inverse of ``_flatten``."""
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), tree)
