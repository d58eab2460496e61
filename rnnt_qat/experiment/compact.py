"""A recognizer in half the bytes, to be handed on: parameters rounded to 16 bits."""

import dataclasses

import jax
import numpy as np

from rnnt_qat.experiment.recognizer import Recognizer


def compact(recognizer: Recognizer) -> Recognizer:
    """The recognizer with its parameters in float16, which `Recognizer.load` reads as float32.

    Ranges keep their 32 bits, for a chip's scales follow from them to the last bit. The experiment
    no longer names the model that it began with: where that lies means nothing elsewhere.

    Raises:
      ValueError: a parameter is beyond float16's largest number.
    """

    def half(parameter: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # it is told below
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
