"""A recognizer of integer matrix products alone, laid out for the chip's compiler.

Such a model keeps floating point between its products, so it has no integer arithmetic to freeze;
what its engine takes is the products' weights on the NPU and every other operator on the CPU. The
layout here is the operator-by-operator LSTM of ``ethos_u_16x8`` with the model's own weights in
it; the formats of all other tensors are nominal. It is for compiling and timing, never for
playing.
"""

import numpy as np
from jaxtyping import Integer

from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.artefact.integers import GATE, GATE_PRE, DenseIntegers, RnntIntegers
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
    """The products' weights in the shape that the graphs are written from.

    Raises:
      FreezeError: a layer is not of integer matrix products.
    """
    params = variables["params"]

    def layer(path: Path, sites: Sites) -> _Layer:
        precision = model.policy.resolve(path)
        if not isinstance(precision, IntegerMatmul):
            raise FreezeError(
                f"layer {'/'.join(path)} computes in {type(precision).__name__}, not in integer "
                "matrix products with floating point between them"
            )
        return _Layer(precision, sites, _at(params, path))

    def table(path: Path, format: TensorFormat) -> Integer[np.ndarray, "V E"]:
        rows = np.rint(np.asarray(_at(params, path)) / format.scale)
        return rows.clip(-32768, 32767).astype(np.int16)

    return lay_out(model.config, params, layer, table, ETHOS_U_16X8.name, fused=False)


class _Layer:
    """One layer's kernels, as the products take them, in nominal formats; ``LayerIntegers``."""

    def __init__(self, precision: IntegerMatmul, sites: Sites, params: PyTree) -> None:
        self._precision, self._sites, self._params = precision, sites, params

    def format(self, site: str) -> TensorFormat:
        """The nominal format of the site's role."""
        return _NOMINAL[self._sites[site]]

    def dense(
        self, kernel: str, bias: str | None, input: TensorFormat, output: TensorFormat
    ) -> DenseIntegers:
        """A product; its bias is nominal too."""
        held = self._precision.operators({}, {}).weight(kernel, self._params[kernel])
        scale = np.broadcast_to(np.asarray(held.scale, np.float32), held.values.shape[1:])
        weights = np.ascontiguousarray(np.asarray(held.values).T.astype(np.int8))
        zeros = None if bias is None else np.zeros(len(weights), np.int64)
        return DenseIntegers(weights, zeros, input, output, scale)


def _at(params: PyTree, path: Path) -> PyTree:
    for name in path:
        params = params[name]
    return params
