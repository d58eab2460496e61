"""Training gives what the code of commit 8cf9f6b gave, to the bit.

``training.json`` holds a tiny recognizer's losses, learning rates and variables through floating
point, calibration and accelerator-aware training under three policies, with rows that are masked
and dropped out, microbatches, half precision, trained ranges, and two batches that are skipped.
Compilers for other processors order sums otherwise, so the bits are compared on processors of the
kind that wrote the file; elsewhere the losses are compared, to the precision that is left of
float32 after so many steps. ``python -m tests.golden.test_training`` prints the file anew.
"""

import hashlib
import io
import json
import pathlib
import sys
import tempfile

import jax
import numpy as np
import pytest

from rnnt_qat.batch import Batch
from rnnt_qat.experiment.task import RecognizerTask
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.mesh import make_mesh, to_host
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.objectives import CTC, Transducer
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.training.checkpoints import CheckpointConfig
from rnnt_qat.training.loop import LoopConfig, Trainer
from rnnt_qat.training.metrics import read_records
from rnnt_qat.training.objective import WeightedObjective
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.plan import bind
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.task import FLOAT32

GOLDEN = pathlib.Path(__file__).with_name("training.json")
CASES = (("w8a8", True), ("generic_nna_w4+tqt", False), ("ethos_u_8x8_16", False))
"""Policies, and whether the stage in floating point computes in bfloat16."""

BINS, VOCABULARY, ROWS = 6, 11, 4
MODEL = RNNTConfig(
    vocabulary=VOCABULARY,
    encoder=EncoderConfig(
        num_layers=2, hidden_size=12, layers_before_reduction=1, time_reduction=2, dropout_rate=0.1
    ),
    prediction=LSTMPredictionConfig(embedding_size=6, hidden_size=8, dropout_rate=0.1),
    joint_size=10,
)
STAGES = (
    TrainingStage(
        "float", 14, FLOAT32, OptimizerConfig(learning_rate=1e-2, warmup_steps=4, ema_decay=0.9)
    ),
    Calibration(batches=3),
    TrainingStage(
        "aware",
        9,
        optimizer=OptimizerConfig(
            learning_rate=3e-3, warmup_steps=2, decay="linear", ema_decay=0.5, accumulation=2
        ),
    ),
)


class Batches:
    """Noise in two shapes; the rows of two batches are not finite."""

    def __init__(self):
        self.position = 0

    def __iter__(self):
        return self

    def __next__(self):
        rng = np.random.default_rng(self.position)
        frames, labels = (12, 4) if self.position % 2 else (16, 5)
        features = rng.normal(size=(ROWS, frames, BINS)).astype(np.float32)
        if self.position in (5, 6):
            features[0] = np.nan
        batch = Batch(
            features=features,
            feature_lengths=rng.integers(frames - 4, frames + 1, ROWS).astype(np.int32),
            labels=rng.integers(1, VOCABULARY, (ROWS, labels)).astype(np.int32),
            label_lengths=rng.integers(1, labels + 1, ROWS).astype(np.int32),
            utterance_index=np.arange(ROWS, dtype=np.int32) + ROWS * self.position,
        )
        self.position += 1
        return batch

    def state(self):
        return self.position

    def restore(self, state):
        self.position = state


def digest(tree):
    """SHA-256 of all arrays of a tree with their paths."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(to_host(tree)):
        found.update(jax.tree_util.keystr(path).encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def run(policy, bfloat16, workdir):
    """One run in the form of the file."""
    bins = np.zeros(BINS, np.float32)
    task = RecognizerTask(
        MODEL,
        policy_by_name(policy),
        Frontend(
            FrontendConfig(LogMelConfig(num_mel_bins=BINS), stack=1), FeatureStats(bins, bins + 1)
        ),
        SpecAugmentConfig(freq_masks=1, freq_mask_bins=2, max_time_masks=1, time_mask_fraction=0.1),
        (
            WeightedObjective("transducer", Transducer(fastemit_lambda=0.01)),
            WeightedObjective("ctc", CTC(), weight=0.5),
        ),
    )
    first, *others = STAGES
    stages = (TrainingStage("float", 14, FLOAT32, first.optimizer, bfloat16=bfloat16), *others)
    trainer = Trainer(
        bind(stages, task),
        lambda: TrainState.create(task.initial_params(jax.random.key(0)), {}, 0),
        Batches(),
        workdir,
        {"policy": policy},
        LoopConfig(log_every=1, checkpoint=CheckpointConfig(every=4)),
        make_mesh(),
        Console(io.StringIO()),
    )
    state = trainer.run()
    records = read_records(workdir / "metrics.jsonl")
    variables = {
        best.stage: digest(
            task.under(best.precision).variables(best.state.ema_params, best.state.quant_stats)
        )
        for best in trainer.best_states()
    }
    return {
        "losses": [r["loss"].hex() if "loss" in r else None for r in records],
        "learning_rates": [r["learning_rate"].hex() for r in records],
        "variables": variables,
        "skipped": int(state.skips.batches),
    }


def processor():
    """What decides how XLA vectorizes: the processor's instruction sets, and the compiler."""
    flags = [
        line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if "flags" in line
    ]
    vectors = sorted({f for f in flags[0].split() if f.startswith(("avx", "fma", "sse4"))})
    return " ".join([jax.__version__, *vectors])


def reals(values):
    return np.array([np.nan if v is None else float.fromhex(v) for v in values])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "bfloat16"),
    [CASES[0], *(pytest.param(*case, marks=pytest.mark.exhaustive) for case in CASES[1:])],
)
def test_training_is_that_of_before(policy, bfloat16, tmp_path):
    golden = json.loads(GOLDEN.read_text())
    before, now = golden[policy], run(policy, bfloat16, tmp_path)
    assert now["skipped"] == before["skipped"] == 2
    if processor() == golden["processor"]:
        assert now == before
    else:
        np.testing.assert_allclose(reals(now["learning_rates"]), reals(before["learning_rates"]))
        np.testing.assert_allclose(reals(now["losses"]), reals(before["losses"]), rtol=2e-2)


def main():
    golden = {"processor": processor()}
    for policy, bfloat16 in CASES:
        with tempfile.TemporaryDirectory() as workdir:
            golden[policy] = run(policy, bfloat16, pathlib.Path(workdir))
    json.dump(golden, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
