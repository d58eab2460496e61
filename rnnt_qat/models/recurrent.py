"""Configurations of the recurrent layers of encoders and prediction networks."""

from dataclasses import dataclass

import flax.linen as nn

from rnnt_qat.layers.gru import GRU
from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.layers.projected_lstm import ProjectedLSTM
from rnnt_qat.quant.policy import PrecisionPolicy


@dataclass(frozen=True)
class LSTMConfig:
    """Plain LSTM (Hochreiter & Schmidhuber, 1997); its layers are named ``lstm_{n}``."""

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
        return LSTM(policy, features, rematerialize)


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


RecurrentConfig = LSTMConfig | ProjectedLSTMConfig | GRUConfig
