"""Bias correction: biases that take back the mean error of rounded kernels.

A chip multiplies by ``Wq`` instead of ``W``, which shifts the mean of the product by
``E[x] (Wq - W)``. The bias of that product is lowered by this shift. ``E[x]`` is the mean operand
over the valid positions of calibration, in floating point, so no labels are needed.

Reference: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(2019), section 4.2, with the mean of observed operands.
"""

import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from rnnt_qat.quant.matmul import matmul
from rnnt_qat.quant.mean_operands import OperandSum
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.quant.quantized_module import operand_name
from rnnt_qat.quant.recorded import Call, Path, recorded
from rnnt_qat.typing import Array, Float, PyTree

BIAS = "bias"
"""Name of the bias of every layer that has one."""


def corrected_biases(
    model: nn.Module, variables: PyTree, observed: PyTree, *inputs: PyTree
) -> PyTree:
    """Returns the parameters of a model with corrected biases.

    A kernel whose product has no bias stays uncorrected (the projection of a projected LSTM), and
    so does a layer without ``typical_operands`` (the joint). The error is that of kernels with the
    range that holds the biases before; a larger bias may raise that range (``bias_range``).

    Args:
      model: the model under the policy of the chip.
      variables: its parameters and calibrated ranges.
      observed: ranges and mean operands, as calibration recorded them (``mean_operands``).
      *inputs: any arguments of the model, for one forward pass that reaches all layers.
    """
    with recorded() as record:
        model.apply(variables, *inputs)
    params, sums = flatten_dict(variables["params"]), flatten_dict(observed)
    # Some layers bind a kernel twice, and the result is the same.
    kernels = {(c.layer.path, c.site): c for c in record.calls if c.operator == "weight"}
    for (path, site), call in kernels.items():
        block = _block(call)
        if block is None or not call.layer.module.typical_operands:
            continue
        shift = _shift(call, sums[(*path, operand_name(site))])
        bias: Path = (*path, BIAS)
        columns = slice(block * len(shift), (block + 1) * len(shift))
        params[bias] = params[bias].at[columns].add(-shift)
    return unflatten_dict(params)


def _block(call: Call) -> int | None:
    """Returns the block of the bias that a kernel's product is added to; None without a bias."""
    has_bias = call.operands[2] is not None
    return 0 if has_bias else call.layer.module.bias_blocks.get(call.site)


def _shift(call: Call, operand: OperandSum) -> Float[Array, "M"]:
    """Returns the change of a product's mean by rounding its kernel."""
    return matmul(operand.mean(), dequantize(call.result) - call.operands[0])
