"""Additive joint network, as a callable pytree."""

import dataclasses

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
    """``W tanh(e + p) + b`` (Graves et al., 2013) with everything it needs inside.

    A pytree, so that the factored loss can differentiate through it chunk by chunk, and a decoder
    can close over it; made once a step, so that the kernel is quantized once a step.
    """

    ops: OperatorSet
    kernel: Value
    bias: Float[Array, "V"]

    def hidden(self, encoded: Num[Array, "*S J"], predicted: Num[Array, "*S J"]) -> Value:
        """``tanh(e + p)``; shapes broadcast."""
        a, b = (
            self.ops.load(site, values)
            for site, values in zip(ADDENDS, (encoded, predicted), strict=True)
        )
        return self.ops.tanh(self.ops.add(a, b, "hidden_pre"), "hidden")

    @jax.named_scope("joint")
    def logits(self, encoded: Num[Array, "*S J"], predicted: Num[Array, "*S J"]) -> Value:
        """Logits as the chip stores them, from the values of both projections; shapes broadcast."""
        return self._output(self.hidden(encoded, predicted))

    def __call__(
        self, encoded: Num[Array, "*S J"], predicted: Num[Array, "*S J"]
    ) -> Float[Array, "*S V"]:
        """Their real values."""
        return dequantize(self.logits(encoded, predicted))

    def on_lattice(
        self, encoded: Num[Array, "B T J"], predicted: Num[Array, "B U J"]
    ) -> tuple["LatticeHead", PyTree, PyTree]:
        """The same for all pairs of frame and label: a head, and what it takes of either."""
        aligned = (
            self.ops.align(site, values, ADDENDS, "hidden_pre")
            for site, values in zip(ADDENDS, (encoded, predicted), strict=True)
        )
        return LatticeHead(self), *aligned

    def _output(self, hidden: Value) -> Value:
        return self.ops.store("logits", self.ops.accumulate(hidden, self.kernel, self.bias))


@flax.struct.dataclass
class LatticeHead:
    """A joint that takes its addends as they are added (``OperatorSet.align``)."""

    joint: JointHead

    @jax.named_scope("joint")
    def __call__(self, encoded: PyTree, predicted: PyTree) -> Float[Array, "*S V"]:
        """Logits' real values; shapes broadcast."""
        ops = self.joint.ops
        total = ops.add_aligned(encoded, predicted, ADDENDS, "hidden_pre")
        return dequantize(self.joint._output(ops.tanh(total, "hidden")))


class Joint(QuantizedModule):
    """Owner of the joint's parameters and ranges.

    Attributes:
      features: joint width J.
      vocabulary: output width V, with the blank.
    """

    features: int
    vocabulary: int

    def setup(self):
        """Parameters and ranges."""
        self.ops = self.operators(JOINT_SITES)
        shape = (self.features, self.vocabulary)
        self.kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        self.bias = self.param("bias", nn.initializers.zeros, (self.vocabulary,))

    def store_encoded(self, projection: Value, mask: Bool[Array, "B T"]) -> Num[Array, "B T J"]:
        """The encoder's projection in the joint's format."""
        encoded = recording(self.ops, mask).store("encoded", projection)
        self.observe(JOINT_SITES, mask, encoded=encoded)
        return self.ops.values(encoded)

    def store_predicted(self, projection: Value, mask: Bool[Array, "B U"]) -> Num[Array, "B U J"]:
        """The prediction network's projection in the joint's format."""
        predicted = recording(self.ops, mask).store("predicted", projection)
        self.observe(JOINT_SITES, mask, predicted=predicted)
        return self.ops.values(predicted)

    def real_encoded(self, encoded: Num[Array, "B T J"]) -> Float[Array, "B T J"]:
        """Real values of what ``store_encoded`` returned."""
        return dequantize(self.ops.load("encoded", encoded))

    def real_predicted(self, predicted: Num[Array, "B U J"]) -> Float[Array, "B U J"]:
        """Real values of what ``store_predicted`` returned."""
        return dequantize(self.ops.load("predicted", predicted))

    def head(self) -> JointHead:
        """The joint as a callable; the kernel is quantized here, once."""
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
        """Calibrates or diagnoses the joint along each row's lattice diagonal.

        The whole lattice is too large to look at, and most of it is never visited: alignments run
        from corner to corner.
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
