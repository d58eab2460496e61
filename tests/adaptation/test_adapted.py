"""An adapted artefact, from objective to the player and LiteRT."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.adaptation.bit_errors import flip_bits
from rnnt_qat.adaptation.evolution import EvolutionConfig, evolve, mean_loss
from rnnt_qat.adaptation.frozen_recognizer import FrozenRecognizer
from rnnt_qat.adaptation.grid import Grid
from rnnt_qat.adaptation.objectives import label_loss, uncertainty
from rnnt_qat.artefact.artefact import ArtefactError, load
from rnnt_qat.batch import Batch
from rnnt_qat.losses import transducer_loss
from rnnt_qat.verify.verification import UtteranceFeatures, verify
from tests.experiment import tiny


def batch() -> Batch:
    rng = np.random.default_rng(5)
    size = tiny.recognizer().frontend.config.feature_size
    return Batch(
        features=rng.normal(size=(2, 12, size)).astype(np.float32),
        feature_lengths=np.array([12, 8], np.int32),
        labels=np.array([[1, 5, 2], [3, 1, 0]], np.int32),
        label_lengths=np.array([3, 2], np.int32),
        utterance_index=np.arange(2, dtype=np.int32),
    )


@pytest.mark.slow
def test_objectives_read_the_integers():
    """The loss is that of all logits; the uncertainty that of the player's own choices."""
    made, given = FrozenRecognizer.of(tiny.artefact()), batch()
    bound = made.transducer
    lattice = bound.model.apply(
        bound.variables, given.features, given.feature_lengths, given.labels, given.label_lengths
    )
    logits = lattice.head(lattice.encoded[:, :, None], lattice.predicted[:, None])
    whole = transducer_loss(logits, lattice.encoded_lengths, given.labels, given.label_lengths)
    total, labels = label_loss(bound, given)
    assert (float(total), int(labels)) == (pytest.approx(float(whole.sum()), rel=1e-5), 5)

    sure = bound.variables["params"]["joint"]["bias"]
    certain = dataclasses.replace(
        bound,
        variables=bound.variables
        | {
            "params": bound.variables["params"]
            | {"joint": bound.variables["params"]["joint"] | {"bias": sure.at[0].add(1_000_000)}}
        },
    )
    none = given.replace(labels=0 * given.labels, label_lengths=0 * given.label_lengths)
    total, frames = uncertainty(bound, given)
    assert int(frames) == sum(math.ceil(n / 2) for n in given.feature_lengths)
    assert float(total) == pytest.approx(choices(bound, given), rel=1e-4)
    assert float(mean_loss(uncertainty, bound, [none])(bound.variables)) == pytest.approx(
        float(total) / int(frames)
    )
    assert 0 <= float(uncertainty(certain, given)[0]) < float(total)


def choices(bound, given) -> float:
    """-log P of greedy search, frame by frame in Python, from the logits of one pair at a time."""
    total = 0.0
    for features, length in zip(given.features, given.feature_lengths, strict=True):
        mask = np.ones((1, int(length)), bool)
        state = bound.initial_encoder_state(1)
        encoded, mask, _ = bound.encode(jnp.asarray(features[None, :length]), mask, state)
        predicted, prediction = bound.predict(
            jnp.zeros(1, jnp.int32), bound.initial_prediction_state(1)
        )
        for t in range(int(mask.sum())):
            for emitted in range(5):  # at most four labels, then a blank in any case
                logits = bound.joint(encoded[:, t], predicted)[0].astype(jnp.float32)
                log_probs = jax.nn.log_softmax(logits)
                label = int(jnp.argmax(log_probs)) if emitted < 4 else 0
                total -= float(log_probs[label])
                if not label:
                    break
                predicted, prediction = bound.predict(jnp.asarray([label]), prediction)
    return total


@pytest.mark.slow
def test_a_damaged_recognizer_is_improved_and_remains_one(tmp_path):
    """The loss falls; the artefact is read again; player, JAX, LiteRT, TFLM have equal integers."""
    made, given = FrozenRecognizer.of(tiny.artefact()), batch()
    damaged = made.with_integers(flip_bits(made.artefact.model, 0.01, seed=0))
    patterns = ("params/*/bias", "params/joint/kernel")
    grid = Grid.of(damaged.transducer.variables, damaged.policy, patterns)
    loss = mean_loss(label_loss, damaged.transducer, [given])
    found = evolve(grid, loss, EvolutionConfig(generations=4, deviation=0.3))
    assert found.best < 0.97 * found.losses[0]
    adapted = damaged.with_variables(grid.at(found.vector), {"adapted": {"seed": 0}})
    artefact = load(adapted.save(tmp_path / "artefact"))
    assert artefact.origin["adapted"] == {"seed": 0}
    again = FrozenRecognizer.of(artefact)
    assert float(loss(again.transducer.variables)) == pytest.approx(found.best)

    heard = [UtteranceFeatures(str(n), features) for n, features in enumerate(given.features)]
    result = verify(artefact.model, adapted.transducer, heard, (1,), tiny.MAX_SYMBOLS)
    assert {a.decoder.split()[0] for a in result.agreements} == {"JAX", "LiteRT", "TFLM"}
    assert all(a.exact and a.integers for a in result.agreements)


def test_units_of_several_characters_are_refused():
    artefact = tiny.artefact()
    units = dataclasses.replace(artefact, pieces=("", " ab", *artefact.pieces[2:]))
    with pytest.raises(ArtefactError, match="several characters"):
        FrozenRecognizer.of(units)


def test_losses_of_batches_weigh_by_what_they_count():
    given = batch()
    short = given.replace(label_lengths=np.array([1, 0], np.int32))
    transducer = FrozenRecognizer.of(tiny.artefact()).transducer

    def squares(bound, batch):
        labels = jnp.float32(batch.label_lengths.sum())
        return labels**2, labels

    loss = mean_loss(squares, transducer, [given, short])
    assert float(loss({})) == pytest.approx((5 * 5 + 1 * 1) / 6)
