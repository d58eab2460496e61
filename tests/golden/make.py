"""Writes the golden set from the code as it stands: ``python -m tests.golden.make``.

To be run only where a change of the integers is meant; the commit says which change and why.
``--models`` also writes the model and the artefact that later versions must be able to load.
"""

import json
import pathlib
import shutil
import sys

import numpy as np

from rnnt_qat.artefact.artefact import Artefact
from rnnt_qat.artefact.artefact import save as save_artefact
from rnnt_qat.artefact.player import Player, greedy, quantize_features
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.export.freeze import freeze as export_freeze
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.serving.freeze import freeze
from tests.golden.cases import (
    CASES,
    CHUNK,
    FEATURES,
    integers,
    model_config,
    random_features,
    random_variables,
    stream,
)

FOLDER = pathlib.Path(__file__).parent
INTEGERS, MODEL, ARTEFACT, MODEL_INTEGERS = (
    FOLDER / name for name in ("integers.json", "model", "artefact", "model.json")
)
POLICY = "ethos_u_8x8_16"


def decoded(recognizer):
    """What a recognizer's frozen model makes of the golden features."""
    tokens, steps = stream(freeze(recognizer.model, recognizer.variables), random_features())
    return {"tokens": tokens, "steps": steps}


def played(artefact):
    """What the player makes of them."""
    tensor_format = artefact.model.encoder.layers[0].input
    features = quantize_features(random_features(), tensor_format)
    found = greedy(Player(artefact.model), features, CHUNK, 2)
    return {"tokens": list(found.tokens), "emission_frames": list(found.emission_frames)}


def main():
    """Writes the files."""
    INTEGERS.write_text(json.dumps({case: integers(case) for case in CASES}, indent=1) + "\n")
    if "--models" not in sys.argv:
        return
    for folder in (MODEL, ARTEFACT):
        shutil.rmtree(folder, ignore_errors=True)
    config, policy = model_config("lstm"), policy_by_name(POLICY)
    bins = np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32)
    frontend = FrontendConfig(LogMelConfig(num_mel_bins=FEATURES), stack=1)
    experiment = ExperimentConfig(DataConfig((), (), ()), config, POLICY, frontend)
    variables = random_variables(config, policy, seed=2)
    recognizer = Recognizer(
        experiment, policy, variables, Frontend(frontend, FeatureStats(*bins)), CharacterTokenizer()
    )
    recognizer.save(MODEL)
    settings = {"stack": 1, "deviation": 1.0, "log_mel": {"num_mel_bins": FEATURES}}
    settings |= {"mean": [0.0] * FEATURES, "std": [1.0] * FEATURES}
    artefact = Artefact(export_freeze(RNNT(config, policy), variables), ("", *"abcdef"), settings)
    save_artefact(artefact, ARTEFACT)
    kept = {"model": decoded(recognizer), "artefact": played(artefact)}
    MODEL_INTEGERS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
