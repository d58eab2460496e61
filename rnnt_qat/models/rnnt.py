"""The RNN transducer: assembly of its three networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import flax.linen as nn
import flax.struct
import jax.numpy as jnp

from rnnt_qat.batch import mask_from_lengths
from rnnt_qat.infra.config import require_at_least
from rnnt_qat.infra.random_keys import descend
from rnnt_qat.layers.cell_states import CELLS
from rnnt_qat.models.dropout import place_keys
from rnnt_qat.models.encoder import Encoder, EncoderConfig
from rnnt_qat.models.joint import Joint, JointHead
from rnnt_qat.models.prediction import LSTMPredictionConfig, StatelessPredictionConfig
from rnnt_qat.models.state_projection import StateProjection
from rnnt_qat.models.windows import Window, in_windows
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.typing import BLANK_ID, Array, Bool, Float, Int, Num, PRNGKey, PyTree


@dataclass(frozen=True)
class RNNTConfig:
    """Sizes of the whole model.

    Attributes:
      vocabulary: number of labels with the blank, V.
      encoder: sizes of the encoder.
      prediction: kind and sizes of the prediction network.
      joint_size: width J of the projections that the joint adds.
      ctc_head: whether training has a linear layer that predicts the labels from the encoder alone
        (``losses.ctc``); it is not part of the chip's program.
      simple_joiner: whether training has the joiner without a hidden layer that selects the band of
        the pruned loss (``losses.pruned``); it is not part of the chip's program.
      teacher_width: width of the LSTMs of a teacher's encoder to which training projects the states
        of this encoder (``objectives.recurrent_states``); 0 has no projections. They are not part
        of the chip's program.
    """

    vocabulary: int
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    prediction: LSTMPredictionConfig | StatelessPredictionConfig = field(
        default_factory=LSTMPredictionConfig
    )
    joint_size: int = 256
    ctc_head: bool = True
    simple_joiner: bool = False
    teacher_width: int = 0

    def __post_init__(self):
        """Rejects sizes below 1, and a vocabulary without a label besides the blank."""
        require_at_least(1, self, "joint_size")
        require_at_least(0, self, "teacher_width")
        require_at_least(2, self, "vocabulary")


@flax.struct.dataclass
class Lattice:
    """Inputs of the transducer loss: both axes of the lattice, and the joint.

    Attributes:
      encoded: encoder projections, as the joint stores them.
      encoded_lengths: number of valid frames per row, after time reduction.
      predicted: prediction projections before each label and after the last.
      head: the joint.
      ctc_logits: logits of the labels from the encoder alone; None for a model without that head.
      simple: the two addends of the simple joiner's logits; None for a model without it.
      state_projections: kernels ``[H, H_teacher]`` of the hidden and the cell states of each layer
        of the encoder; empty for a model without them.
    """

    encoded: Num[Array, "B Tr J"]
    encoded_lengths: Int[Array, "B"]
    predicted: Num[Array, "B U1 J"]
    head: JointHead
    ctc_logits: Float[Array, "B Tr V"] | None = None
    simple: tuple[Float[Array, "B Tr V"], Float[Array, "B U1 V"]] | None = None
    state_projections: Sequence[Mapping[str, Float[Array, "H Ht"]]] = ()


class RNNT(nn.Module):
    """RNN transducer (Graves, 2012) under a precision policy.

    ``__call__`` is for training; ``encode``, ``predict`` and ``head`` are for decoding.

    Attributes:
      config: sizes.
      policy: precision of every layer.
    """

    config: RNNTConfig
    policy: PrecisionPolicy

    def setup(self):
        """Creates the three networks."""
        config = self.config
        self.encoder = Encoder(config.encoder, self.policy, config.joint_size)
        self.prediction = config.prediction.make(self.policy, config.vocabulary, config.joint_size)
        self.joint = Joint(self.policy, config.joint_size, config.vocabulary)
        self.ctc = nn.Dense(config.vocabulary) if config.ctc_head else None
        simple = config.simple_joiner
        self.simple_encoded = nn.Dense(config.vocabulary) if simple else None
        self.simple_predicted = nn.Dense(config.vocabulary) if simple else None
        self.state_projection = [
            StateProjection(width, config.teacher_width)
            for width in (config.encoder.hidden_sizes if config.teacher_width else ())
        ]

    def __call__(
        self,
        features: Float[Array, "B T F"],
        feature_lengths: Int[Array, "B"],
        labels: Int[Array, "B U"],
        label_lengths: Int[Array, "B"],
        row_keys: PRNGKey | None = None,
    ) -> Lattice:
        """Computes the lattice of a padded batch; pads T to a multiple of the time reduction.

        Args:
          features: padded features.
          feature_lengths: number of valid frames per row.
          labels: padded labels.
          label_lengths: number of labels per row.
          row_keys: one random key per row, for dropout; None disables it.
        """
        encoder_keys, prediction_keys = place_keys(row_keys, 2)
        reduction = self.config.encoder.time_reduction
        features = jnp.pad(features, ((0, 0), (0, -features.shape[1] % reduction), (0, 0)))
        mask = mask_from_lengths(feature_lengths, features.shape[1])
        encode = self.encode if self._encodes_at_once(features) else self._encode_in_windows
        encoded, encoded_mask, _ = encode(features, mask, None, encoder_keys)
        encoded_lengths = encoded_mask.sum(axis=1, dtype=jnp.int32)

        inputs = jnp.pad(labels, ((0, 0), (1, 0)), constant_values=BLANK_ID)
        input_mask = mask_from_lengths(label_lengths + 1, inputs.shape[1])
        predicted, _ = self.predict(inputs, input_mask, None, prediction_keys)
        if self.policy.calibrating or self.policy.diagnosing:
            self.joint.observe_diagonal(encoded, predicted, encoded_lengths, label_lengths + 1)
        ctc_logits = None if self.ctc is None else self.ctc(self.joint.real_encoded(encoded))
        simple = None
        if self.simple_encoded is not None and self.simple_predicted is not None:
            simple = (
                self.simple_encoded(self.joint.real_encoded(encoded)),
                self.simple_predicted(self.joint.real_predicted(predicted)),
            )
        projections = tuple(projection() for projection in self.state_projection)
        return Lattice(
            encoded, encoded_lengths, predicted, self.head(), ctc_logits, simple, projections
        )

    def encode(
        self,
        features: Float[Array, "B T F"],
        mask: Bool[Array, "B T"],
        state: PyTree | None = None,
        row_keys: PRNGKey | None = None,
    ) -> tuple[Num[Array, "B Tr J"], Bool[Array, "B Tr"], PyTree]:
        """Encodes a chunk of frames.

        Args:
          features: frames; T is a multiple of the time reduction.
          mask: True where the frame is valid.
          state: state before the chunk; None for the initial state.
          row_keys: one random key per row, for dropout; None disables it.

        Returns:
          Encoder projections as the joint stores them, their mask, and the state after the chunk.
        """
        projection, mask, state = self.encoder(features, mask, state, row_keys)
        return self.joint.store_encoded(projection, mask), mask, state

    def _encodes_at_once(self, features: Float[Array, "B T F"]) -> bool:
        """Returns whether the frames make one window, or values of all frames are observed."""
        window = self.config.encoder.window_frames
        observed = self.is_initializing() or self.policy.calibrating or self.policy.diagnosing
        return observed or not window or features.shape[1] <= window

    def _encode_in_windows(
        self,
        features: Float[Array, "B T F"],
        mask: Bool[Array, "B T"],
        _: None,
        row_keys: PRNGKey | None,
    ) -> tuple[Num[Array, "B Tr J"], Bool[Array, "B Tr"], PyTree]:
        """Encodes as ``encode`` does, and keeps the values of one window for the backward pass."""
        # JAX's transformations need a function of arrays, which a bound module is not.
        model, variables = self.unbind()

        def run(state: PyTree, window: Window) -> tuple[PyTree, PyTree]:
            xs, mask, number = window
            keys = None if row_keys is None else descend(row_keys, number)
            (encoded, mask, state), noted = model.apply(
                variables, xs, mask, state, keys, method=RNNT.encode, mutable=[CELLS]
            )
            return state, (encoded, mask, noted.get(CELLS, {}))

        first = self.encoder.initial_state(len(features))
        size = self.config.encoder.window_frames
        state, (encoded, mask, noted) = in_windows(run, first, features, mask, size)
        if self.is_mutable_collection(CELLS):
            for name, of_layer in noted.get("encoder", {}).items():
                self.encoder.put_variable(CELLS, name, of_layer)
        return encoded, mask, state

    def predict(
        self,
        inputs: Int[Array, "B U"],
        mask: Bool[Array, "B U"],
        state: PyTree | None = None,
        row_keys: PRNGKey | None = None,
    ) -> tuple[Num[Array, "B U J"], PyTree]:
        """Computes the projection after each label.

        Args:
          inputs: labels; the blank is the start symbol.
          mask: True where the label is valid.
          state: state before the labels; None for the initial state.
          row_keys: one random key per row, for dropout; None disables it.

        Returns:
          Prediction projections as the joint stores them, and the state after the labels.
        """
        projection, state = self.prediction(inputs, mask, state, row_keys)
        return self.joint.store_predicted(projection, mask), state

    def head(self) -> JointHead:
        """Returns the joint as a callable pytree."""
        return self.joint.head()


def example_inputs(config: RNNTConfig, feature_size: int) -> tuple[Array, ...]:
    """Returns the smallest arguments of ``RNNT.__call__``, for initialization."""
    frames = config.encoder.time_reduction
    return (
        jnp.zeros((1, frames, feature_size)),
        jnp.full((1,), frames, jnp.int32),
        jnp.full((1, 1), BLANK_ID + 1, jnp.int32),
        jnp.ones((1,), jnp.int32),
    )
