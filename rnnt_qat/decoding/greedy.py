"""Frame-synchronous greedy search for a whole batch inside one jitted program.

The search takes the most probable symbol at each frame. A blank advances to the next frame; a label
is emitted and the same frame is evaluated again, at most ``max_symbols_per_frame`` times. Every row
keeps its own frame pointer, so the number of steps of a batch is about the frames plus the labels
of its longest row, not its frames times the bound. One step evaluates the joint at
``window_frames`` frames at once: as long as a row emits no label, its prediction is the same at all
of them.

Reference: Graves, "Sequence Transduction with Recurrent Neural Networks" (2012), section 2.4;
per-row frame pointers follow Bataev et al., "Label-Looping: Highly Efficient Decoding for
Transducers" (2024).
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.decoding.hypothesis import Hypothesis
from rnnt_qat.decoding.search import select_rows
from rnnt_qat.decoding.transducer import Transducer
from rnnt_qat.typing import BLANK_ID, Array, Bool, Int, Num, PyTree


@dataclasses.dataclass(frozen=True)
class GreedyConfig:
    """Options of the greedy search.

    Attributes:
      max_symbols_per_frame: maximum number of labels per encoder frame; a blank is forced after
        them.
      max_tokens: capacity of a hypothesis in tokens; further tokens are only counted, in
        ``Hypothesis.overflow``.
      window_frames: encoder frames at which one step evaluates the joint. It affects the speed and
        not the result: all blanks before the first label of the window are taken in one step.
    """

    max_symbols_per_frame: int = 10
    max_tokens: int = 512
    window_frames: int = 4

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(
                    f"GreedyConfig.{field.name} must be at least 1, got {getattr(self, field.name)}"
                )

    def for_chunks(self, frames: int) -> "GreedyConfig":
        """Returns this config with capacity for the tokens of ``frames`` encoder frames."""
        return dataclasses.replace(self, max_tokens=frames * self.max_symbols_per_frame)

    def build(self) -> "GreedySearch":
        """Creates the search."""
        return GreedySearch(self)


@flax.struct.dataclass
class GreedyState:
    """State of the greedy search between two chunks.

    ``GreedySearch.step`` always processes a chunk to its end, so the state needs no position within
    a frame.

    Attributes:
      predicted: prediction projection after the last emitted label.
      prediction_state: state of the prediction network after that label.
      frames: valid encoder frames processed so far.
      hypothesis: tokens that have not been handed over.
    """

    predicted: Num[Array, "B J"]
    prediction_state: PyTree
    frames: Int[Array, "B"]
    hypothesis: Hypothesis


@dataclasses.dataclass(frozen=True)
class GreedySearch:
    """Greedy ``Search``.

    ``Hypothesis.log_prob`` is the log-probability of the chosen alignment, blanks included. Among
    symbols of equal probability (logits of an integer policy may tie) the lowest index is chosen.

    Attributes:
      config: options of the search.
    """

    config: GreedyConfig

    def initial_state(self, transducer: Transducer, batch_size: int) -> GreedyState:
        """Returns the state before the first encoder frame, after the start symbol."""
        start = jnp.full((batch_size,), BLANK_ID, jnp.int32)
        predicted, prediction_state = transducer.predict(
            start, transducer.initial_prediction_state(batch_size)
        )
        return GreedyState(
            predicted,
            prediction_state,
            frames=jnp.zeros((batch_size,), jnp.int32),
            hypothesis=Hypothesis.empty((batch_size,), self.config.max_tokens),
        )

    def hypothesis(self, state: GreedyState) -> Hypothesis:
        """Returns the tokens that have not been handed over."""
        return state.hypothesis

    def alternatives(self, state: GreedyState) -> Hypothesis:
        """Returns the hypothesis as the only alternative of its row, shape ``[B, 1]``."""
        return jax.tree.map(lambda x: x[:, None], state.hypothesis)

    def hand_over(self, state: GreedyState) -> tuple[Hypothesis, GreedyState]:
        """Returns all tokens and the state without them: greedy search never revises a token."""
        held = state.hypothesis
        rest = held.without_first(held.length)
        return held, dataclasses.replace(state, hypothesis=rest)

    def step(
        self,
        transducer: Transducer,
        encoded: Num[Array, "B T J"],
        mask: Bool[Array, "B T"],
        state: GreedyState,
    ) -> GreedyState:
        """Processes one chunk.

        Args:
          transducer: the model.
          encoded: encoder projections of the chunk.
          mask: True at valid frames, which precede the invalid ones in every row.
          state: state after the previous chunk.

        Returns:
          The state after the chunk.
        """
        B, T, _ = encoded.shape
        config = self.config
        lengths = mask.sum(axis=1, dtype=jnp.int32)  # [B]
        window = jnp.arange(min(config.window_frames, T), dtype=jnp.int32)  # [W]

        def unfinished(carry):
            frame, _, _ = carry
            return jnp.any(frame < lengths)

        def advance(carry):
            # frame [B]: the row's next frame in the chunk; symbols [B]: labels emitted at it.
            frame, symbols, state = carry
            hypothesis = state.hypothesis
            positions = frame[:, None] + window  # [B, W]
            valid = positions < lengths[:, None]  # [B, W]
            frames = jnp.take_along_axis(
                encoded, jnp.minimum(positions, T - 1)[:, :, None], axis=1
            )  # [B, W, J]
            logits = transducer.joint(frames, state.predicted[:, None, :])  # [B, W, V]

            full = (symbols >= config.max_symbols_per_frame)[:, None] & (window == 0)  # [B, W]
            labels = jnp.where(full, BLANK_ID, jnp.argmax(logits, axis=-1))  # [B, W]
            emits = valid & (labels != BLANK_ID)
            emit = jnp.any(emits, axis=1)  # [B]
            blanks = jnp.where(emit, jnp.argmax(emits, axis=1), valid.sum(axis=1, dtype=jnp.int32))
            label = jnp.take_along_axis(
                labels, jnp.minimum(blanks, window.size - 1)[:, None], axis=1
            )[:, 0].astype(jnp.int32)  # [B]

            log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
            taken = jnp.take_along_axis(log_probs, labels[:, :, None], axis=-1)[:, :, 0]  # [B, W]
            passed = valid & (window < blanks[:, None])
            blank_log_prob = jnp.where(passed, taken, 0.0).sum(axis=1)
            label_log_prob = jnp.where(emits & (window == blanks[:, None]), taken, 0.0).sum(axis=1)
            hypothesis = dataclasses.replace(
                hypothesis,
                log_prob=hypothesis.log_prob + blank_log_prob + label_log_prob,
                blank_log_prob=hypothesis.blank_log_prob + blank_log_prob,
            ).append(label, state.frames + frame + blanks, label_log_prob, emit)

            def predict_next(predicted, prediction_state):
                advanced = transducer.predict(label, prediction_state)
                return select_rows(emit, advanced, (predicted, prediction_state))

            # With a single stream most steps emit only blanks: skip the prediction network there.
            predicted, prediction_state = jax.lax.cond(
                jnp.any(emit),
                predict_next,
                lambda *unchanged: unchanged,
                state.predicted,
                state.prediction_state,
            )
            state = dataclasses.replace(
                state, predicted=predicted, prediction_state=prediction_state, hypothesis=hypothesis
            )
            symbols = jnp.where(blanks > 0, 0, symbols) + emit
            return frame + blanks, symbols, state

        zeros = jnp.zeros((B,), jnp.int32)
        _, _, state = jax.lax.while_loop(unfinished, advance, (zeros, zeros, state))
        return dataclasses.replace(state, frames=state.frames + lengths)
