"""How much memory a recognizer takes on its chip."""

import math

import jax
from flax.traverse_util import flatten_dict

from rnnt_qat.models.binding import layer_sites
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.sites import Role


def model_bytes(config: RNNTConfig, policy: PrecisionPolicy, feature_size: int) -> int:
    """Bytes of kernels, biases and the embedding, packed at the widths of their formats.

    Scales are left out (one or a few a kernel), and so is the CTC head, which no chip sees. A
    kernel below 8 bits counts its own bits; a chip that holds it on its 8-bit grid compresses it.
    """
    inputs = example_inputs(config, feature_size)
    variables = jax.eval_shape(RNNT(config, FLOAT32).init, jax.random.key(0), *inputs)
    sites = layer_sites(config)
    reader = min(path for path in sites if path[0] == "prediction")
    bits = 0
    for (*layer, name), leaf in flatten_dict(variables["params"]).items():
        path = tuple(layer)
        if name == "embedding":
            width = policy.resolve(reader).tensor_format(Role.INPUT).bits
        elif path not in sites:
            continue
        elif name == "bias":
            width = policy.resolve(path).bias_bits()
        else:
            width = policy.resolve(path).tensor_format(sites[path][name]).bits
        bits += width * math.prod(leaf.shape)
    return -(-bits // 8)
