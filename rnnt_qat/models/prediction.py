"""Prediction networks: encode the preceding labels, projected for the joint."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from rnnt_qat.infra.config import require_at_least
from rnnt_qat.layers.dense import Dense
from rnnt_qat.layers.embedding import Embedding
from rnnt_qat.models.dropout import dropout, place_keys
from rnnt_qat.models.recurrent import HiddenSize, LSTMConfig, RecurrentConfig, layer_widths
from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.typing import BLANK_ID, Array, Bool, Int, PRNGKey, PyTree


@dataclass(frozen=True)
class LSTMPredictionConfig:
    """Recurrent prediction network (Graves, 2012), of LSTM or other recurrent layers.

    Attributes:
      embedding_size: width of a label's embedding.
      hidden_size: hidden width of all recurrent layers, or one width for each layer.
      num_layers: number of recurrent layers.
      dropout_rate: dropout rate of embeddings and between layers, in training.
      layer: kind of the recurrent layers.
    """

    embedding_size: int = 128
    hidden_size: HiddenSize = 256
    num_layers: int = 1
    dropout_rate: float = 0.0
    layer: RecurrentConfig = field(default_factory=LSTMConfig)

    def __post_init__(self):
        """Rejects sizes below 1."""
        require_at_least(1, self, "embedding_size", "num_layers")
        layer_widths("LSTMPredictionConfig", self.hidden_size, self.num_layers)

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Hidden width of each recurrent layer, in order."""
        return layer_widths("LSTMPredictionConfig", self.hidden_size, self.num_layers)

    def make(self, policy: PrecisionPolicy, vocabulary: int, output_size: int) -> nn.Module:
        """Creates the network.

        Args:
          policy: precision of every layer.
          vocabulary: number of labels V, with the blank.
          output_size: width J of the joint.
        """
        return LSTMPrediction(self, policy, vocabulary, output_size)


@dataclass(frozen=True)
class StatelessPredictionConfig:
    """Prediction network without recurrence: embeddings of the last labels (Ghodsi et al., 2020).

    Attributes:
      embedding_size: width of a label's embedding.
      context: number of preceding labels that the network reads.
      dropout_rate: dropout rate of embeddings, in training.
    """

    embedding_size: int = 128
    context: int = 2
    dropout_rate: float = 0.0

    def __post_init__(self):
        """Rejects sizes below 1."""
        require_at_least(1, self, "embedding_size", "context")

    def make(self, policy: PrecisionPolicy, vocabulary: int, output_size: int) -> nn.Module:
        """Creates the network.

        Args:
          policy: precision of every layer.
          vocabulary: number of labels V, with the blank.
          output_size: width J of the joint.
        """
        return StatelessPrediction(self, policy, vocabulary, output_size)


class LSTMPrediction(nn.Module):
    """Embedding, recurrent layers and projection; the blank is the start symbol.

    Attributes:
      config: kind and sizes.
      policy: precision of every layer.
      vocabulary: number of labels V, with the blank.
      output_size: width J of the joint.
    """

    config: LSTMPredictionConfig
    policy: PrecisionPolicy
    vocabulary: int
    output_size: int

    def setup(self):
        """Creates ``{config.layer.name}_{n}``, ``projection`` and the parameter ``embedding``."""
        self.table = Embedding(self.policy, self.vocabulary, self.config.embedding_size)
        nn.share_scope(self, self.table)  # makes ``embedding`` a parameter of this module
        kind = self.config.layer
        layers = [
            kind.make(self.policy, width, rematerialize=False) for width in self.config.hidden_sizes
        ]
        setattr(self, kind.name, layers)
        self.projection = Dense(policy=self.policy, features=self.output_size)

    @property
    def layers(self) -> Sequence[Any]:
        """The recurrent layers, in order."""
        return getattr(self, self.config.layer.name)

    def initial_state(self, batch_size: int) -> tuple[PyTree, ...]:
        """Returns the state before the start symbol."""
        return tuple(layer.initial_state(batch_size) for layer in self.layers)

    def __call__(
        self,
        inputs: Int[Array, "B U"],
        mask: Bool[Array, "B U"],
        state: tuple[PyTree, ...] | None = None,
        row_keys: PRNGKey | None = None,
    ) -> tuple[Value, tuple[PyTree, ...]]:
        """Computes a projection after each label.

        Args:
          inputs: labels.
          mask: True where the label is valid.
          state: state before the labels; None for the initial state.
          row_keys: one random key per row, for dropout; None disables it.

        Returns:
          Projections ``[B, U, J]`` and the state after the last valid label.
        """
        xs = self.table(inputs)
        keys = place_keys(row_keys, 1 + len(self.layers))
        xs = dropout(xs, self.config.dropout_rate, keys[0])
        new_state = []
        for index, layer in enumerate(self.layers):
            xs, _, layer_state = layer(xs, mask, None if state is None else state[index])
            xs = dropout(xs, self.config.dropout_rate, keys[index + 1])
            new_state.append(layer_state)
        projection = self.projection(xs, mask)
        (self.layers[0] if self.layers else self.projection).cover("input", self.table.table)
        return projection, tuple(new_state)


class StatelessPrediction(nn.Module):
    """One embedding per position of the context, combined by the projection's matrix product.

    Attributes:
      config: sizes.
      policy: precision of every layer.
      vocabulary: number of labels V, with the blank.
      output_size: width J of the joint.
    """

    config: StatelessPredictionConfig
    policy: PrecisionPolicy
    vocabulary: int
    output_size: int

    def setup(self):
        """Creates the parameter ``embedding`` and the layer ``projection``."""
        self.table = Embedding(self.policy, self.vocabulary, self.config.embedding_size)
        nn.share_scope(self, self.table)  # makes ``embedding`` a parameter of this module
        self.projection = Dense(policy=self.policy, features=self.output_size)

    def initial_state(self, batch_size: int) -> Int[Array, "B C"]:
        """Returns the labels before the first one: blanks."""
        return jnp.full((batch_size, self.config.context - 1), BLANK_ID, jnp.int32)

    def __call__(
        self,
        inputs: Int[Array, "B U"],
        mask: Bool[Array, "B U"],
        state: PyTree | None = None,
        row_keys: PRNGKey | None = None,
    ) -> tuple[Value, Int[Array, "B C"]]:
        """Computes a projection after each label.

        Args:
          inputs: labels.
          mask: True where the label is valid.
          state: the preceding labels; None for the initial state.
          row_keys: one random key per row, for dropout; None disables it.

        Returns:
          Projections ``[B, U, J]`` and the state after the last valid label.
        """
        if state is None:
            state = self.initial_state(inputs.shape[0])
        history = jnp.concatenate([state, inputs], axis=1)
        length = inputs.shape[1]
        context = [history[:, k : k + length] for k in range(self.config.context)]
        xs = jnp.concatenate([self.table(labels) for labels in context], axis=-1)
        xs = dropout(xs, self.config.dropout_rate, place_keys(row_keys, 1)[0])
        # The state is that after the last valid label: masked labels leave it unchanged.
        position = mask.sum(axis=1, dtype=jnp.int32)[:, None] + jnp.arange(state.shape[1])
        projection = self.projection(xs, mask)
        self.projection.cover("input", self.table.table)
        return projection, jnp.take_along_axis(history, position, axis=1)
