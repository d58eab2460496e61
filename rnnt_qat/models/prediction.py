"""Prediction networks: what was said so far, projected for the joint."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from rnnt_qat.infra.config import require_at_least
from rnnt_qat.layers.dense import Dense
from rnnt_qat.layers.embedding import Embedding
from rnnt_qat.models.dropout import dropout
from rnnt_qat.models.recurrent import LSTMConfig, RecurrentConfig
from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.typing import BLANK_ID, Array, Bool, Int, PRNGKey, PyTree


@dataclass(frozen=True)
class LSTMPredictionConfig:
    """Recurrent prediction network (Graves, 2012), of LSTM layers or another kind.

    Attributes:
      embedding_size: width of a label's embedding.
      hidden_size: hidden width of each recurrent layer.
      num_layers: recurrent layers.
      dropout_rate: on embeddings and between layers, in training.
      layer: kind of the recurrent layers.
    """

    embedding_size: int = 128
    hidden_size: int = 256
    num_layers: int = 1
    dropout_rate: float = 0.0
    layer: RecurrentConfig = field(default_factory=LSTMConfig)

    def __post_init__(self):
        """Refuses sizes of nothing."""
        require_at_least(1, self, "embedding_size", "hidden_size", "num_layers")

    def make(self, policy: PrecisionPolicy, vocabulary: int, output_size: int) -> nn.Module:
        """The network."""
        return LSTMPrediction(self, policy, vocabulary, output_size)


@dataclass(frozen=True)
class StatelessPredictionConfig:
    """Embeddings of the last labels, nothing recurrent (Ghodsi et al., 2020).

    Attributes:
      embedding_size: width of a label's embedding.
      context: how many labels the network sees.
    """

    embedding_size: int = 128
    context: int = 2
    dropout_rate: float = 0.0

    def __post_init__(self):
        """Refuses sizes of nothing."""
        require_at_least(1, self, "embedding_size", "context")

    def make(self, policy: PrecisionPolicy, vocabulary: int, output_size: int) -> nn.Module:
        """The network."""
        return StatelessPrediction(self, policy, vocabulary, output_size)


class LSTMPrediction(nn.Module):
    """Embedding, recurrent layers, projection. Labels in; the blank is the start symbol."""

    config: LSTMPredictionConfig
    policy: PrecisionPolicy
    vocabulary: int
    output_size: int

    def setup(self):
        """Layers, named ``{config.layer.name}_{n}`` and ``projection``, and the ``embedding``."""
        self.table = Embedding(self.policy, self.vocabulary, self.config.embedding_size)
        nn.share_scope(self, self.table)  # its parameter is this network's: ``embedding``
        kind = self.config.layer
        layers = [
            kind.make(self.policy, self.config.hidden_size, rematerialize=False)
            for _ in range(self.config.num_layers)
        ]
        setattr(self, kind.name, layers)
        self.projection = Dense(policy=self.policy, features=self.output_size)

    @property
    def layers(self) -> Sequence[Any]:
        """The recurrent layers, in order."""
        return getattr(self, self.config.layer.name)

    def initial_state(self, batch_size: int) -> tuple[PyTree, ...]:
        """State before the start symbol."""
        return tuple(layer.initial_state(batch_size) for layer in self.layers)

    def __call__(
        self,
        inputs: Int[Array, "B U"],
        mask: Bool[Array, "B U"],
        state: tuple[PyTree, ...] | None = None,
        row_keys: PRNGKey | None = None,
    ) -> tuple[Value, tuple[PyTree, ...]]:
        """``[B, U] -> [B, U, J]``, a projection after each label; ``row_keys`` ask for dropout."""
        xs = self.table(inputs)
        xs = dropout(xs, self.config.dropout_rate, row_keys, 0)
        new_state = []
        for index, layer in enumerate(self.layers):
            xs, _, layer_state = layer(xs, mask, None if state is None else state[index])
            xs = dropout(xs, self.config.dropout_rate, row_keys, index + 1)
            new_state.append(layer_state)
        projection = self.projection(xs, mask)
        (self.layers[0] if self.layers else self.projection).cover("input", self.table.table)
        return projection, tuple(new_state)


class StatelessPrediction(nn.Module):
    """One embedding a position of the context, summed by the projection's product."""

    config: StatelessPredictionConfig
    policy: PrecisionPolicy
    vocabulary: int
    output_size: int

    def setup(self):
        """Layers, named ``embedding`` and ``projection``."""
        self.table = Embedding(self.policy, self.vocabulary, self.config.embedding_size)
        nn.share_scope(self, self.table)  # its parameter is this network's: ``embedding``
        self.projection = Dense(policy=self.policy, features=self.output_size)

    def initial_state(self, batch_size: int) -> Int[Array, "B C"]:
        """The labels before the first: blanks."""
        return jnp.full((batch_size, self.config.context - 1), BLANK_ID, jnp.int32)

    def __call__(
        self,
        inputs: Int[Array, "B U"],
        mask: Bool[Array, "B U"],
        state: PyTree | None = None,
        row_keys: PRNGKey | None = None,
    ) -> tuple[Value, Int[Array, "B C"]]:
        """``[B, U] -> [B, U, J]``, a projection after each label; ``row_keys`` ask for dropout."""
        if state is None:
            state = self.initial_state(inputs.shape[0])
        history = jnp.concatenate([state, inputs], axis=1)
        length = inputs.shape[1]
        context = [history[:, k : k + length] for k in range(self.config.context)]
        xs = jnp.concatenate([self.table(labels) for labels in context], axis=-1)
        xs = dropout(xs, self.config.dropout_rate, row_keys, 0)
        # The state after the last valid label; masked labels leave it as it is.
        position = mask.sum(axis=1, dtype=jnp.int32)[:, None] + jnp.arange(state.shape[1])
        projection = self.projection(xs, mask)
        self.projection.cover("input", self.table.table)
        return projection, jnp.take_along_axis(history, position, axis=1)
