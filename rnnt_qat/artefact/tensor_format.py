"""Formats of the tensors of integer graphs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

DTYPES = tuple(np.dtype(t) for t in (np.float32, np.int8, np.int16, np.int32, np.int64))


@dataclass(frozen=True)
class TensorFormat:
    """Element type and quantization of a tensor: ``real = (q - zero_point) * scale``.

    Attributes:
      dtype: element type, one of float32, int8, int16, int32, int64.
      scale: real value of one step, or one per slice of ``axis``; None for plain integers or
        floats. It has the precision of float32, as in a `.tflite` file.
      zero_point: integer that stands for 0.
      axis: the axis to which several scales belong.
    """

    dtype: Any
    scale: Any = None
    zero_point: int = 0
    axis: int = 0

    def __post_init__(self) -> None:
        """Rejects formats that no runtime supports."""
        dtype = np.dtype(self.dtype)
        if dtype not in DTYPES:
            known = ", ".join(str(t) for t in DTYPES)
            raise ValueError(f"TensorFormat.dtype is {dtype}; have {known}")
        object.__setattr__(self, "dtype", dtype)
        if self.scale is None:
            return
        scale = np.asarray(self.scale, np.float32)
        if scale.ndim > 1 or not np.all((scale > 0) & np.isfinite(scale)):
            raise ValueError(f"TensorFormat.scale is {self.scale}; a scale is finite and above 0")
        object.__setattr__(
            self, "scale", scale.tolist() if scale.ndim == 0 else tuple(scale.tolist())
        )
