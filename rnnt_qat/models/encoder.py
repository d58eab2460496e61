"""Encoder: stacked recurrent layers with time reduction, projected for the joint."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn

from rnnt_qat.infra.config import require_at_least
from rnnt_qat.layers.dense import Dense
from rnnt_qat.layers.time_reduction import TimeReduction
from rnnt_qat.models.dropout import dropout, place_keys
from rnnt_qat.models.recurrent import HiddenSize, LSTMConfig, RecurrentConfig, layer_widths
from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.typing import Array, Bool, PRNGKey, PyTree


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder.

    Attributes:
      num_layers: number of recurrent layers.
      hidden_size: hidden width of all layers, or one width for each layer.
      layers_before_reduction: number of layers at the frontend's rate; 0 reduces the features.
      time_reduction: frames stacked into one; 1 keeps the rate.
      dropout_rate: dropout rate between layers, in training.
      rematerialize: whether the backward pass recomputes the derivatives of the cells instead of
        keeping them; saves memory under emulated arithmetic.
      layer: kind of the recurrent layers.
      window_frames: frames whose values the backward pass of training keeps at once, a multiple of
        ``time_reduction``; the values of other windows are recomputed from their first states
        (``models.windows``). 0 keeps all. Dropout draws other masks in windows.
    """

    num_layers: int = 3
    hidden_size: HiddenSize = 256
    layers_before_reduction: int = 1
    time_reduction: int = 2
    dropout_rate: float = 0.0
    rematerialize: bool = False
    layer: RecurrentConfig = field(default_factory=LSTMConfig)
    window_frames: int = 0

    def __post_init__(self):
        """Rejects sizes below 1, partial windows and a time reduction after the last layer."""
        require_at_least(1, self, "num_layers", "time_reduction")
        layer_widths("EncoderConfig", self.hidden_size, self.num_layers)
        require_at_least(0, self, "window_frames")
        if self.window_frames % self.time_reduction:
            raise ValueError(
                f"EncoderConfig.window_frames={self.window_frames} must be a multiple of "
                f"time_reduction={self.time_reduction}"
            )
        if not 0 <= self.layers_before_reduction < self.num_layers:
            raise ValueError(
                f"EncoderConfig.layers_before_reduction={self.layers_before_reduction} must lie in "
                f"[0, num_layers={self.num_layers})"
            )

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Hidden width of each layer, in order."""
        return layer_widths("EncoderConfig", self.hidden_size, self.num_layers)


EncoderState = tuple[PyTree, ...]


class Encoder(nn.Module):
    """Maps frames to encoder projections; a ``StreamingLayer`` of block size ``time_reduction``.

    Attributes:
      config: sizes.
      policy: precision of every layer.
      output_size: width J of the joint.
    """

    config: EncoderConfig
    policy: PrecisionPolicy
    output_size: int

    def setup(self):
        """Creates the layers, named ``{config.layer.name}_{n}`` and ``projection``."""
        config = self.config
        layers = [
            config.layer.make(self.policy, width, config.rematerialize)
            for width in config.hidden_sizes
        ]
        setattr(self, config.layer.name, layers)
        self.projection = Dense(policy=self.policy, features=self.output_size)

    @property
    def layers(self) -> Sequence[Any]:
        """The recurrent layers, in order."""
        return getattr(self, self.config.layer.name)

    @property
    def block_size(self) -> int:
        """Number of which the length of a chunk must be a multiple, in frames."""
        return self.config.time_reduction

    def initial_state(self, batch_size: int) -> EncoderState:
        """Returns the state of every recurrent layer before the first frame."""
        return tuple(layer.initial_state(batch_size) for layer in self.layers)

    def __call__(
        self,
        xs: Value,
        mask: Bool[Array, "B T"],
        state: EncoderState | None = None,
        row_keys: PRNGKey | None = None,
    ) -> tuple[Value, Bool[Array, "B Tr"], EncoderState]:
        """Encodes one chunk.

        Args:
          xs: frames ``[B, T, F]``.
          mask: True where the frame is valid.
          state: state before the chunk; None for the initial state.
          row_keys: one random key per row, for dropout; None disables it.

        Returns:
          Projections ``[B, T / time_reduction, J]``, their mask, and the state after the chunk.
        """
        reduce = TimeReduction(self.config.time_reduction)
        keys = place_keys(row_keys, 1 + len(self.layers))
        new_state = []
        for index, layer in enumerate(self.layers):
            if index == self.config.layers_before_reduction:
                xs, mask, _ = reduce(xs, mask)
            if index:
                xs = dropout(xs, self.config.dropout_rate, keys[index])
            xs, mask, layer_state = layer(xs, mask, None if state is None else state[index])
            new_state.append(layer_state)
        xs = dropout(xs, self.config.dropout_rate, keys[-1])
        return self.projection(xs, mask), mask, tuple(new_state)
