"""Additive joint network, as a callable pytree."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.quant.diagnostics import recording
from rnnt_qat.quant.operators import OperatorSet, Value
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.quant.sites import Role
from rnnt_qat.typing import Array, Bool, Float, Int, Num, PyTree

JOINT_SITES = {
    "encoded": Role.PROJECTION,
    "predicted": Role.PROJECTION,
    "hidden_pre": Role.JOINT_PRE,
    "hidden": Role.JOINT_HIDDEN,
    "kernel": Role.WEIGHT,
    "logits": Role.LOGITS,
}
ADDENDS = ("encoded", "predicted")


@flax.struct.dataclass
class JointHead:
    """Computes ``W tanh(e + p) + b`` (Graves et al., 2013) with parameters and ranges bound.

    It is a pytree, so that the factored loss can differentiate through it chunk by chunk and a
    decoder can close over it. It is created once per step, so that the kernel is quantized once per
    step.

    Attributes:
      ops: operators of the joint.
      kernel: output kernel as the chip stores it.
      bias: output bias.
    """

    ops: OperatorSet
    kernel: Value
    bias: Float[Array, "V"]

    def hidden(self, encoded: Num[Array, "*S J"], predicted: Num[Array, "*S J"]) -> Value:
        """Computes ``tanh(e + p)``; the shapes broadcast."""
        a, b = (
            self.ops.load(site, values)
            for site, values in zip(ADDENDS, (encoded, predicted), strict=True)
        )
        return self.ops.tanh(self.ops.add(a, b, "hidden_pre"), "hidden")

    @jax.named_scope("joint")
    def logits(self, encoded: Num[Array, "*S J"], predicted: Num[Array, "*S J"]) -> Value:
        """Computes logits as the chip stores them; the shapes broadcast."""
        return self._output(self.hidden(encoded, predicted))

    def __call__(
        self, encoded: Num[Array, "*S J"], predicted: Num[Array, "*S J"]
    ) -> Float[Array, "*S V"]:
        """Computes the real values of the logits; the shapes broadcast."""
        return dequantize(self.logits(encoded, predicted))

    def on_lattice(
        self, encoded: Num[Array, "B T J"], predicted: Num[Array, "B U J"]
    ) -> tuple["LatticeHead", PyTree, PyTree]:
        """Prepares the joint for all pairs of a frame and a label.

        Args:
          encoded: stored encoder projections.
          predicted: stored prediction projections.

        Returns:
          A head, and its aligned addends per frame and per label.
        """
        aligned = (
            self.ops.align(site, values, ADDENDS, "hidden_pre")
            for site, values in zip(ADDENDS, (encoded, predicted), strict=True)
        )
        return LatticeHead(self), *aligned

    def _output(self, hidden: Value) -> Value:
        return self.ops.store("logits", self.ops.accumulate(hidden, self.kernel, self.bias))


@flax.struct.dataclass
class LatticeHead:
    """A joint that takes aligned addends (``OperatorSet.align``).

    Attributes:
      joint: the joint.
    """

    joint: JointHead

    @jax.named_scope("joint")
    def __call__(self, encoded: PyTree, predicted: PyTree) -> Float[Array, "*S V"]:
        """Computes the real values of the logits; the shapes broadcast."""
        ops = self.joint.ops
        total = ops.add_aligned(encoded, predicted, ADDENDS, "hidden_pre")
        return dequantize(self.joint._output(ops.tanh(total, "hidden")))


class Joint(QuantizedModule):
    """Owns the parameters and ranges of the joint.

    Attributes:
      features: joint width J.
      vocabulary: output width V, with the blank.
    """

    # Calibration sees a diagonal of the lattice, not a search's path. Corrected by its mean, the
    # blank's bias rises, and words are deleted at 2 and 3 bits (benchmarks/RESULTS.md).
    typical_operands: ClassVar = False

    features: int
    vocabulary: int

    def setup(self):
        """Creates the parameters and operators."""
        self.ops = self.operators(JOINT_SITES)
        shape = (self.features, self.vocabulary)
        self.kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        self.bias = self.param("bias", nn.initializers.zeros, (self.vocabulary,))

    def store_encoded(self, projection: Value, mask: Bool[Array, "B T"]) -> Num[Array, "B T J"]:
        """Stores the encoder's projection in the joint's format."""
        encoded = recording(self.ops, mask).store("encoded", projection)
        self.observe(JOINT_SITES, mask, encoded=encoded)
        return self.ops.values(encoded)

    def store_predicted(self, projection: Value, mask: Bool[Array, "B U"]) -> Num[Array, "B U J"]:
        """Stores the prediction network's projection in the joint's format."""
        predicted = recording(self.ops, mask).store("predicted", projection)
        self.observe(JOINT_SITES, mask, predicted=predicted)
        return self.ops.values(predicted)

    def real_encoded(self, encoded: Num[Array, "B T J"]) -> Float[Array, "B T J"]:
        """Returns the real values of a result of ``store_encoded``."""
        return dequantize(self.ops.load("encoded", encoded))

    def real_predicted(self, predicted: Num[Array, "B U J"]) -> Float[Array, "B U J"]:
        """Returns the real values of a result of ``store_predicted``."""
        return dequantize(self.ops.load("predicted", predicted))

    def head(self) -> JointHead:
        """Returns the joint as a callable with its kernel quantized."""
        hidden = self.ops.load("hidden", jnp.zeros((), self.state_dtype(Role.JOINT_HIDDEN)))
        kernel = self.ops.weight("kernel", self.kernel, hidden, self.bias)
        return JointHead(ops=self.ops, kernel=kernel, bias=self.bias)

    def observe_diagonal(
        self,
        encoded: Float[Array, "B T J"],
        predicted: Float[Array, "B U J"],
        encoded_lengths: Int[Array, "B"],
        predicted_lengths: Int[Array, "B"],
    ) -> None:
        """Calibrates or diagnoses the joint along the diagonal of each row's lattice.

        The whole lattice is too large to observe, and alignments do not reach most of it: they run
        from corner to corner.

        Args:
          encoded: stored encoder projections.
          predicted: stored prediction projections.
          encoded_lengths: number of valid frames per row.
          predicted_lengths: number of valid prediction steps per row.
        """
        frames = jnp.arange(encoded.shape[1])
        label = frames * predicted_lengths[:, None] // jnp.maximum(encoded_lengths[:, None], 1)
        label = jnp.minimum(label, predicted.shape[1] - 1)
        predicted = jnp.take_along_axis(predicted, label[..., None], axis=1)
        mask = frames < encoded_lengths[:, None]
        head = self.head()
        head = dataclasses.replace(head, ops=recording(head.ops, mask))
        hidden = head.hidden(encoded, predicted)
        self.observe(
            JOINT_SITES,
            mask,
            hidden_pre=encoded + predicted,
            hidden=hidden,
            logits=head(encoded, predicted),
        )
