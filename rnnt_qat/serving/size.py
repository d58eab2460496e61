"""Memory that a recognizer needs on its chip."""

import math

import jax
from flax.traverse_util import flatten_dict

from rnnt_qat.models.binding import layer_sites
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.models.serving_record import serving_record
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.recorded import parameters


def model_bytes(config: RNNTConfig, policy: PrecisionPolicy, feature_size: int) -> int:
    """Returns the bytes of kernels, biases and embedding, packed at the widths of their formats.

    Scales are not counted (one or a few per kernel), nor is the CTC head, which is not on the chip.
    A kernel below 8 bits counts its own bits: a chip that stores it on its 8-bit grid compresses
    it.

    Args:
      config: configuration of the model.
      policy: precision of every layer.
      feature_size: width of the features.
    """
    inputs = example_inputs(config, feature_size)
    variables = jax.eval_shape(RNNT(config, FLOAT32).init, jax.random.key(0), *inputs)
    shapes = flatten_dict(variables["params"])
    sites, bits = layer_sites(config), 0
    for path, parameter in parameters(serving_record(config)).items():
        precision = policy.resolve(parameter.layer)
        if parameter.site:
            width = precision.tensor_format(sites[parameter.layer][parameter.site]).bits
        else:
            width = precision.bias_bits()
        bits += width * math.prod(shapes[path].shape)
    return -(-bits // 8)
