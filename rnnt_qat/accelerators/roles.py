"""Roles: the purposes of a recognizer's tensors; a chip assigns a format to each role."""

import enum


class Role(enum.Enum):
    """Role of a site. Layers declare roles; only precisions and chips know formats."""

    INPUT = "input"
    """Activations from another layer, operand of a matrix product."""
    WEIGHT = "weight"
    """Kernel of a matrix product."""
    GATE_WEIGHT = "gate_weight"
    """Kernel of an LSTM: its columns are those of the four gates, one gate after the other.

    A chip stores it like any other kernel, but each gate may have its own scale (``Grain.GATE``).
    """
    GATE_PRE = "gate_pre"
    """Gate pre-activations of an LSTM."""
    GATE = "gate"
    """Outputs of an LSTM's sigmoid and tanh, in [-1, 1]."""
    CELL = "cell"
    """Cell state of an LSTM."""
    HIDDEN = "hidden"
    """Output and recurrent state of an LSTM, operand of a matrix product."""
    MEMORY = "memory"
    """Memory of a gated recurrent unit; used only by networks with such layers."""
    PROJECTED = "projected"
    """Projection of an LSTM's hidden state, operand of a matrix product.

    It is the output and recurrent state of the layer; used only by networks with such layers.
    """
    NORMALIZED = "normalized"
    """Result of a layer normalization, operand of a matrix product.

    Used only by networks with such layers.
    """
    PROJECTION = "projection"
    """Output of a dense layer, addend of the joint."""
    JOINT_PRE = "joint_pre"
    """Sum of the joint, input of its tanh."""
    JOINT_HIDDEN = "joint_hidden"
    """Tanh of the joint, operand of the output product."""
    LOGITS = "logits"
    """Scores over the vocabulary."""

    @property
    def is_kernel(self) -> bool:
        """Whether tensors of this role are kernels."""
        return self in (Role.WEIGHT, Role.GATE_WEIGHT)

    @property
    def blocks(self) -> int:
        """Number of gates whose columns lie side by side in a kernel."""
        return 4 if self is Role.GATE_WEIGHT else 1
