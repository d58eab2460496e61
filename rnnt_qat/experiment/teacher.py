"""Teachers: recognizers in floating point from which a training run distils."""

import pathlib

import jax
import numpy as np

from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.task import FloatTeacher
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.infra.config import to_json
from rnnt_qat.training.checkpoints import ConfigMismatchError, differing_fields


def load_teacher(directory: pathlib.Path, frontend: Frontend) -> FloatTeacher:
    """Loads a teacher from a model directory.

    Args:
      directory: the model directory.
      frontend: frontend of the student.

    Raises:
      ConfigMismatchError: the features of the teacher differ from those of the student.
    """
    recognizer = Recognizer.load(directory)
    theirs = recognizer.frontend
    lines = differing_fields(to_json(theirs.config), to_json(frontend.config), "frontend")
    if not lines and not jax.tree.all(jax.tree.map(np.array_equal, theirs.stats, frontend.stats)):
        lines = ["the features' mean or deviation"]
    if lines:
        raise ConfigMismatchError(
            f"the teacher {directory} takes other features:\n  " + "\n  ".join(lines) + "\n"
            "Give both the same frontend, and start from the teacher or from another model of "
            "its statistics (initialize_from)."
        )
    return FloatTeacher(recognizer.config.model, recognizer.variables["params"])
