"""The layout of a recognizer with integer matrix products only, for the chip's compiler.

Such a model keeps floating point between its products, so it has no integer arithmetic to freeze:
the weights of the products are on the NPU, and the CPU computes every other operator. The layout is
the operator-by-operator LSTM of ``ethos_u_16x8`` with the model's own weights; the formats of all
other tensors are nominal. It is for compilation and timing, and its results are meaningless.
"""

import numpy as np
from jaxtyping import Integer

from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.layer_integers import GATE, GATE_PRE, DenseIntegers
from rnnt_qat.artefact.runtime_arithmetic import LITERT
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.freeze import FreezeError
from rnnt_qat.export.layout import lay_out
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.precision import IntegerMatmul
from rnnt_qat.quant.recorded import Path
from rnnt_qat.quant.sites import Role, Sites
from rnnt_qat.typing import PyTree

_ACTIVATION = TensorFormat(np.int16, 2.0**-11)
_STATE = TensorFormat(np.int16, 2.0**-15)
_PROJECTION = TensorFormat(np.int16, 2.0**-12)
_NOMINAL = {
    Role.INPUT: _ACTIVATION,
    Role.GATE_PRE: GATE_PRE,
    Role.GATE: GATE,
    Role.CELL: _ACTIVATION,
    Role.HIDDEN: _STATE,
    Role.MEMORY: _PROJECTION,
    Role.PROJECTED: _ACTIVATION,
    Role.PROJECTION: _PROJECTION,
    Role.JOINT_PRE: _PROJECTION,
    Role.JOINT_HIDDEN: _STATE,
    Role.LOGITS: TensorFormat(np.int16, 2.0**-10),
}


def matmul_layout(model: RNNT, variables: PyTree) -> RnntIntegers:
    """Returns the weights of the products in the layout that graphs are written from.

    Args:
      model: the model under its policy.
      variables: its variables.

    Raises:
      FreezeError: a layer does not compute with integer matrix products, or is a layer norm.
    """
    params = variables["params"]

    def layer(path: Path, sites: Sites) -> _Layer:
        precision = model.policy.resolve(path)
        if not isinstance(precision, IntegerMatmul):
            raise FreezeError(
                f"layer {'/'.join(path)} computes in {type(precision).__name__}, not in integer "
                "matrix products with floating point between them"
            )
        if Role.NORMALIZED in sites.values():
            raise FreezeError(
                f"layer {'/'.join(path)} is a layer norm, for which no graph is written: export a "
                "recognizer of other layers"
            )
        return _Layer(precision, sites, _at(params, path))

    def table(path: Path, tensor_format: TensorFormat) -> Integer[np.ndarray, "V E"]:
        rows = np.rint(np.asarray(_at(params, path)) / tensor_format.scale)
        return rows.clip(-32768, 32767).astype(np.int16)

    return lay_out(model.config, params, layer, table, ETHOS_U_16X8.name, False, LITERT)


class _Layer:
    """Kernels of one layer as its products use them, in nominal formats; ``LayerIntegers``."""

    def __init__(self, precision: IntegerMatmul, sites: Sites, params: PyTree) -> None:
        self._precision, self._sites, self._params = precision, sites, params

    def format(self, site: str) -> TensorFormat:
        """Returns the nominal format of the site's role."""
        return _NOMINAL[self._sites[site]]

    def dense(
        self, kernel: str, bias: str | None, input_format: TensorFormat, output_format: TensorFormat
    ) -> DenseIntegers:
        """Returns a matrix product with a nominal (zero) bias.

        Args:
          kernel: name of the kernel.
          bias: name of the bias; None for no bias.
          input_format: nominal format of the input.
          output_format: nominal format of the result.
        """
        held = self._precision.operators({}, {}).weight(kernel, self._params[kernel])
        scale = np.broadcast_to(np.asarray(held.scale, np.float32), held.values.shape[1:])
        weights = np.ascontiguousarray(np.asarray(held.values).T.astype(np.int8))
        zeros = None if bias is None else np.zeros(len(weights), np.int64)
        return DenseIntegers(weights, zeros, input_format, output_format, scale)


def _at(params: PyTree, path: Path) -> PyTree:
    for name in path:
        params = params[name]
    return params
