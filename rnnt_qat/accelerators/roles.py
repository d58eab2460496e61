"""What a tensor of a recognizer is for; a chip gives each role a format."""

import enum


class Role(enum.Enum):
    """Role of a site. Layers declare roles; only precisions and chips know formats."""

    INPUT = "input"
    """Activations from another layer, operand of a matrix product."""
    WEIGHT = "weight"
    """Kernel of a matrix product."""
    GATE_WEIGHT = "gate_weight"
    """Kernel of an LSTM: its columns are those of four gates, one after the other. A chip holds it
    as it holds any kernel; its scales may be the gates' own (``Grain.GATE``)."""
    GATE_PRE = "gate_pre"
    """Gate pre-activations of an LSTM."""
    GATE = "gate"
    """Outputs of an LSTM's sigmoid and tanh, in [-1, 1]."""
    CELL = "cell"
    """The LSTM's cell state."""
    HIDDEN = "hidden"
    """The LSTM's output and recurrent state, operand of a matrix product."""
    MEMORY = "memory"
    """The memory of a gated recurrent unit. Only networks with such layers ask for it."""
    PROJECTED = "projected"
    """The projection of an LSTM's hidden state: its output and recurrent state, operand of a matrix
    product. Only networks with such layers ask for it."""
    NORMALIZED = "normalized"
    """Result of a layer normalization, operand of the next layer's product. Only networks with such
    layers ask for it."""
    PROJECTION = "projection"
    """Output of a dense layer: what the joint adds."""
    JOINT_PRE = "joint_pre"
    """The joint's sum, before its tanh."""
    JOINT_HIDDEN = "joint_hidden"
    """The joint's tanh, operand of the output product."""
    LOGITS = "logits"
    """Scores over the vocabulary."""

    @property
    def is_kernel(self) -> bool:
        """Whether it is a kernel's."""
        return self in (Role.WEIGHT, Role.GATE_WEIGHT)

    @property
    def blocks(self) -> int:
        """Equal parts of a kernel's columns that belong to different gates."""
        return 4 if self is Role.GATE_WEIGHT else 1
