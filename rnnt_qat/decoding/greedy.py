"""Frame-synchronous greedy search, a whole batch inside one program.

At a frame the likeliest symbol is taken: a blank moves on to the next frame, a label is emitted
and the same frame is asked again, at most ``max_symbols_per_frame`` times. Every row keeps its own
frame pointer, so a batch takes about as many steps as its longest row has frames and labels, not
frames times the bound. A step looks at ``window_frames`` frames at once: as long as a row emits
nothing, its prediction is the same at all of them.

Reference: Graves, "Sequence Transduction with Recurrent Neural Networks" (2012), section 2.4;
rows with pointers of their own after Bataev et al., "Label-Looping: Highly Efficient Decoding for
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
      max_symbols_per_frame: labels that one encoder frame may emit; then a blank is forced.
      max_tokens: tokens a hypothesis can hold; more are counted in ``Hypothesis.overflow``.
      window_frames: encoder frames whose joint is evaluated in one step. It changes the speed, not
        the result: blanks up to the window's first label are taken at once.
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
        """The same search with room for what a chunk of ``frames`` encoder frames can emit."""
        return dataclasses.replace(self, max_tokens=frames * self.max_symbols_per_frame)

    def build(self) -> "GreedySearch":
        """The search with these options."""
        return GreedySearch(self)


@flax.struct.dataclass
class GreedyState:
    """What greedy search carries from chunk to chunk.

    A chunk is always searched to its end, so no frame is left half asked.

    Attributes:
      predicted: prediction projection after the last emitted label.
      prediction_state: the prediction network's state after it.
      frames: valid encoder frames heard.
      hypothesis: the tokens so far.
    """

    predicted: Num[Array, "B J"]
    prediction_state: PyTree
    frames: Int[Array, "B"]
    hypothesis: Hypothesis


@dataclasses.dataclass(frozen=True)
class GreedySearch:
    """Greedy ``Search``. ``Hypothesis.log_prob`` is that of the alignment taken, blanks included.

    Of equally likely symbols (a chip's logits may tie) the one of the lowest index is taken.
    """

    config: GreedyConfig

    def initial_state(self, transducer: Transducer, batch_size: int) -> GreedyState:
        """State before the first encoder frame."""
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
        """The tokens so far."""
        return state.hypothesis

    def alternatives(self, state: GreedyState) -> Hypothesis:
        """The same as the only one of its row, ``[B, 1]``."""
        return jax.tree.map(lambda x: x[:, None], state.hypothesis)

    def hand_over(self, state: GreedyState) -> tuple[Hypothesis, GreedyState]:
        """All tokens held: greedy search never takes one back."""
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
        """Search through one chunk; valid frames come before invalid ones in every row."""
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

            def hear(predicted, prediction_state):
                heard = transducer.predict(label, prediction_state)
                return select_rows(emit, heard, (predicted, prediction_state))

            # On one stream most steps are blank, and the prediction network need not run at all.
            predicted, prediction_state = jax.lax.cond(
                jnp.any(emit),
                hear,
                lambda *unheard: unheard,
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
