"""Compaction of a recognizer to half its size by rounding parameters to 16 bits."""

import dataclasses

import jax
import numpy as np

from rnnt_qat.experiment.recognizer import Recognizer


def compact(recognizer: Recognizer) -> Recognizer:
    """Returns the recognizer with parameters in float16; `Recognizer.load` reads them as float32.

    Ranges stay float32, because a chip's scales are computed from them bit-exactly.
    ``initialize_from`` is cleared, because its path is not valid on other machines.

    Raises:
      ValueError: if a parameter exceeds the largest float16 number.
    """

    def half(parameter: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # overflow is reported below
            rounded = np.asarray(parameter).astype(np.float16)
        if not np.isfinite(rounded).all():
            raise ValueError(
                f"parameters up to {np.abs(np.asarray(parameter)).max():g} do not fit float16"
            )
        return rounded

    params = jax.tree.map(half, recognizer.variables["params"])
    config = dataclasses.replace(recognizer.config, initialize_from="")
    variables = {**recognizer.variables, "params": params}
    return dataclasses.replace(recognizer, config=config, variables=variables)
