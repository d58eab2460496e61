"""The recognizer that a run starts from (``initialize_from``)."""

from collections.abc import Callable

import jax
from flax.traverse_util import flatten_dict

from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.remote_paths import readable_folder
from rnnt_qat.infra.config import to_json
from rnnt_qat.models.rnnt import RNNT, example_inputs
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.training.checkpoints import ConfigMismatchError, differing_fields


def load_initial_recognizer(
    config: ExperimentConfig, say: Callable[[str], None]
) -> Recognizer | None:
    """Loads the recognizer that a config starts from.

    Args:
      config: the experiment's config.
      say: prints a line for each field of the model that differs without changing a shape.

    Returns:
      The recognizer; None if the config names none.

    Raises:
      ConfigMismatchError: if its parameter shapes or features differ from the config's.
    """
    if not config.initialize_from:
        return None
    directory = config.initialize_from
    recognizer = Recognizer.load(readable_folder(directory))
    theirs = recognizer.config
    if lines := differing_fields(to_json(theirs.frontend), to_json(config.frontend), "frontend"):
        raise ConfigMismatchError(
            f"initialize_from={directory} was trained on other features:\n  "
            + "\n  ".join(lines)
            + "\nGive those fields the values that they had before."
        )
    lines = differing_fields(to_json(theirs.model), to_json(config.model), "model")
    if wrong := _other_shapes(recognizer, config):
        raise ConfigMismatchError(
            f"initialize_from={directory} has parameters of other shapes:\n  "
            + "\n  ".join(lines or wrong)
            + "\nGive those fields the values that they had before."
        )
    for line in lines:
        say(f"initialize_from={directory}: {line}; no parameter's shape changes")
    return recognizer


def _other_shapes(recognizer: Recognizer, config: ExperimentConfig) -> list[str]:
    """Returns the names of parameters that a recognizer lacks or has in another shape."""
    inputs = example_inputs(config.model, config.frontend.feature_size)
    ours = jax.eval_shape(RNNT(config.model, FLOAT32).init, jax.random.key(0), *inputs)["params"]
    expected = {name: leaf.shape for name, leaf in flatten_dict(ours, sep="/").items()}
    found = {
        name: leaf.shape
        for name, leaf in flatten_dict(recognizer.variables["params"], sep="/").items()
    }
    names = sorted({*expected, *found})
    return [name for name in names if expected.get(name) != found.get(name)]
