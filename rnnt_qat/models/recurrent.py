"""Configurations of the recurrent layers of encoders and prediction networks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn

from rnnt_qat.layers.gru import GRU
from rnnt_qat.layers.layer_norm import LayerNorm
from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.layers.projected_lstm import ProjectedLSTM
from rnnt_qat.layers.temporal_gradient import FULL, TemporalGradient
from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.typing import Array, Bool, PyTree


@dataclass(frozen=True)
class LSTMConfig:
    """Plain LSTM (Hochreiter & Schmidhuber, 1997); its layers are named ``lstm_{n}``.

    Attributes:
      gradient: paths through time that the gradient includes.
    """

    gradient: TemporalGradient = FULL

    @property
    def name(self) -> str:
        """Prefix of the layers' names."""
        return "lstm"

    def make(self, policy: PrecisionPolicy, features: int, rematerialize: bool) -> nn.Module:
        """Creates a layer.

        Args:
          policy: precision of every layer.
          features: hidden width.
          rematerialize: whether the backward pass recomputes derivatives instead of keeping them.
        """
        return LSTM(policy, features, rematerialize, self.gradient)


@dataclass(frozen=True)
class ProjectedLSTMConfig:
    """LSTM with a recurrent projection (Sak et al., 2014); named ``projected_lstm_{n}``.

    Attributes:
      projection: width of a layer's output and recurrent state.
    """

    projection: int = 128

    @property
    def name(self) -> str:
        """Prefix of the layers' names."""
        return "projected_lstm"

    def make(self, policy: PrecisionPolicy, features: int, rematerialize: bool) -> nn.Module:
        """Creates a layer; arguments as for ``LSTMConfig.make``."""
        return ProjectedLSTM(policy, features, self.projection, rematerialize)


@dataclass(frozen=True)
class GRUConfig:
    """Gated recurrent unit (Cho et al., 2014); named ``gru_{n}``."""

    @property
    def name(self) -> str:
        """Prefix of the layers' names."""
        return "gru"

    def make(self, policy: PrecisionPolicy, features: int, rematerialize: bool) -> nn.Module:
        """Creates a layer; arguments as for ``LSTMConfig.make``."""
        return GRU(policy, features, rematerialize)


class Normalized(nn.Module):
    """A recurrent layer, named ``recurrent``, and the normalization of its output, named ``norm``.

    Attributes:
      policy: precision of every layer.
      layer: kind of the recurrent layer.
      features: hidden width of the recurrent layer.
      rematerialize: see ``LSTMConfig.make``.
    """

    policy: PrecisionPolicy
    layer: LSTMConfig | ProjectedLSTMConfig | GRUConfig
    features: int
    rematerialize: bool = False

    def setup(self):
        """Creates both layers."""
        self.recurrent: Any = self.layer.make(self.policy, self.features, self.rematerialize)
        self.norm = LayerNorm(self.policy)

    @property
    def block_size(self) -> int:
        """1: a chunk may have any number of frames."""
        return 1

    def initial_state(self, batch_size: int) -> PyTree:
        """Returns the state of the recurrent layer before the first frame."""
        return self.recurrent.initial_state(batch_size)

    def __call__(
        self, xs: Value, mask: Bool[Array, "B T"], state: PyTree | None = None
    ) -> tuple[Value, Bool[Array, "B T"], PyTree]:
        """Runs the recurrent layer and normalizes its output; arguments as for ``LSTM``."""
        ys, mask, state = self.recurrent(xs, mask, state)
        ys, mask, _ = self.norm(ys, mask)
        return ys, mask, state

    def cover(self, site: str, values: Array) -> None:
        """Widens a range of the recurrent layer, as ``QuantizedModule.cover``."""
        self.recurrent.cover(site, values)


@dataclass(frozen=True)
class NormalizedConfig:
    """Recurrent layer with a normalized output (Ba et al., 2016); ``normalized_{layer.name}_{n}``.

    A chip without layer normalization refuses the model when it is bound.

    Attributes:
      layer: kind of the recurrent layer.
    """

    layer: LSTMConfig | ProjectedLSTMConfig | GRUConfig = field(default_factory=LSTMConfig)

    @property
    def name(self) -> str:
        """Prefix of the layers' names."""
        return f"normalized_{self.layer.name}"

    def make(self, policy: PrecisionPolicy, features: int, rematerialize: bool) -> nn.Module:
        """Creates a layer; arguments as for ``LSTMConfig.make``."""
        return Normalized(policy, self.layer, features, rematerialize)


RecurrentConfig = LSTMConfig | ProjectedLSTMConfig | GRUConfig | NormalizedConfig

HiddenSize = int | tuple[int, ...]
"""Hidden width of every layer of a network, or one width for each of them."""


def layer_widths(network: str, hidden_size: HiddenSize, num_layers: int) -> tuple[int, ...]:
    """Returns the hidden width of each layer.

    Args:
      network: name of the config in messages.
      hidden_size: the config's value.
      num_layers: number of layers.

    Raises:
      ValueError: if a width is below 1, or if there are more or fewer widths than layers.
    """
    given = (hidden_size,) if isinstance(hidden_size, int) else hidden_size
    # One width in a tuple is that of all layers, as in configs of earlier versions.
    widths = given * num_layers if len(given) == 1 else given
    if len(widths) != num_layers:
        raise ValueError(
            f"{network}.hidden_size={hidden_size}: {len(widths)} widths for "
            f"num_layers={num_layers}; give one number or a width for each layer"
        )
    if any(width < 1 for width in widths):
        raise ValueError(f"{network}.hidden_size={hidden_size}: it must be at least 1")
    return widths


def hidden_size_of(widths: Sequence[int]) -> HiddenSize:
    """Returns the widths of layers as a config's ``hidden_size``: one number if all are equal."""
    return widths[0] if len(set(widths)) == 1 else tuple(widths)
