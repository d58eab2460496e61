"""The runtimes of the drill of integers, and how their integers are compared."""

import numpy as np

from rnnt_qat.artefact.runtime_arithmetic import LITERT, TFLM, RuntimeArithmetic
from rnnt_qat.verify.runtimes import LiteRt, Tflm

RUNTIMES: tuple[tuple[type[LiteRt] | type[Tflm], RuntimeArithmetic], ...] = (
    (LiteRt, LITERT),
    (Tflm, TFLM),
)


class DifferentIntegersError(AssertionError):
    """Two of a graph's computations differ; the message names them and the first integers."""


def require_same(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    different = np.argwhere(ours.reshape(theirs.shape) != theirs)
    if len(different):
        where = tuple(different[0])
        raise DifferentIntegersError(
            f"{what}: {ours.reshape(theirs.shape)[where]} instead of {theirs[where]} at "
            f"{[int(i) for i in where]}; {len(different)} of {theirs.size} differ"
        )
