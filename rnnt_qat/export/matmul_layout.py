"""A recognizer of integer matrix products alone, laid out for the chip's compiler.

Such a model keeps floating point between its products, so it has no integer arithmetic to freeze;
what its engine takes is the products' weights on the NPU and every other operator on the CPU. The
layout here is the operator-by-operator LSTM of ``ethos_u_16x8`` with the model's own weights in
it; the formats of all other tensors are nominal. It is for compiling and timing, never for
playing.
"""

import numpy as np
from jaxtyping import Float, Integer

from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.artefact.integers import (
    DenseIntegers,
    EncoderIntegers,
    JointIntegers,
    LstmIntegers,
    PredictionIntegers,
    RnntIntegers,
)
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.freeze import FreezeError
from rnnt_qat.models.prediction import StatelessPredictionConfig
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.precision import IntegerMatmul
from rnnt_qat.typing import PyTree

_ACTIVATION = TensorFormat(np.int16, 2.0**-11)
_STATE = TensorFormat(np.int16, 2.0**-15)
_PROJECTION = TensorFormat(np.int16, 2.0**-12)
_LOGITS = TensorFormat(np.int16, 2.0**-10)


def matmul_layout(model: RNNT, variables: PyTree) -> RnntIntegers:
    """The products' weights in the shape that the graphs are written from.

    Raises:
      FreezeError: a layer is not of integer matrix products.
    """
    reader = _Reader(model, variables["params"])
    config = model.config
    inputs = [_ACTIVATION] + [_STATE] * (config.encoder.num_layers - 1)
    prediction = config.prediction
    if isinstance(prediction, StatelessPredictionConfig):
        count, context, last = 0, prediction.context, _ACTIVATION
    else:
        count, context, last = prediction.num_layers, 1, _STATE
    table = np.rint(np.asarray(variables["params"]["prediction"]["embedding"]) / _ACTIVATION.scale)
    labels = [_ACTIVATION] + [_STATE] * (count - 1)
    return RnntIntegers(
        chip=ETHOS_U_16X8.name,
        encoder=EncoderIntegers(
            layers=tuple(
                reader.lstm(("encoder", f"lstm_{n}"), format) for n, format in enumerate(inputs)
            ),
            layers_before_reduction=config.encoder.layers_before_reduction,
            time_reduction=config.encoder.time_reduction,
            projection=reader.dense(("encoder", "projection"), _STATE, _PROJECTION),
        ),
        prediction=PredictionIntegers(
            embedding=table.clip(-32768, 32767).astype(np.int16),
            embedding_format=_ACTIVATION,
            context=context,
            layers=tuple(reader.lstm(("prediction", f"lstm_{n}"), labels[n]) for n in range(count)),
            projection=reader.dense(("prediction", "projection"), last, _PROJECTION),
        ),
        joint=JointIntegers(
            sum=_PROJECTION, hidden=_STATE, output=reader.dense(("joint",), _STATE, _LOGITS)
        ),
    )


class _Reader:
    """Kernels by path, as the products take them."""

    def __init__(self, model: RNNT, params: PyTree) -> None:
        self._policy = model.policy
        self._params = params

    def dense(
        self, path: tuple[str, ...], input: TensorFormat, output: TensorFormat
    ) -> DenseIntegers:
        weights, scale = self._kernel(path, "kernel")
        return DenseIntegers(weights, np.zeros(len(weights), np.int64), input, output, scale)

    def lstm(self, path: tuple[str, ...], input: TensorFormat) -> LstmIntegers:
        by_gate = {}
        for site in ("input_kernel", "recurrent_kernel"):
            weights, scale = self._kernel(path, site)
            by_gate[site] = weights.reshape(4, -1, weights.shape[1]), scale.reshape(4, -1)
        (w_ih, w_ih_scale), (w_hh, w_hh_scale) = by_gate.values()
        bias = np.zeros(w_ih.shape[:2], np.int64)
        return LstmIntegers(w_ih, w_hh, bias, input, _STATE, _ACTIVATION, w_ih_scale, w_hh_scale)

    def _kernel(
        self, path: tuple[str, ...], site: str
    ) -> tuple[Integer[np.ndarray, "M K"], Float[np.ndarray, "M"]]:
        precision = self._policy.resolve(path)
        if not isinstance(precision, IntegerMatmul):
            raise FreezeError(
                f"layer {'/'.join(path)} computes in {type(precision).__name__}, not in integer "
                "matrix products with floating point between them"
            )
        params = self._params
        for name in path:
            params = params[name]
        kernel = precision.operators({}, {}).weight(site, params[site])
        scale = np.broadcast_to(np.asarray(kernel.scale, np.float32), kernel.values.shape[1:])
        return np.ascontiguousarray(np.asarray(kernel.values).T.astype(np.int8)), scale
