import dataclasses

import jax
import numpy as np
import pytest

from rnnt_qat.losses import transducer_loss_factored
from rnnt_qat.objectives import CTC, Transducer
from tests.objectives.forward_pass import CONFIG, batch, outputs, params


def test_a_band_as_wide_as_the_lattice_is_exact():
    made, of = outputs(params()), batch()
    exact = Transducer()(made, None, of, 0)["exact"]
    terms = Transducer(band_width=5, simple_scale=0.25)(made, None, of, 0)
    assert list(terms) == ["pruned", "simple"]
    np.testing.assert_allclose(terms["pruned"], exact, rtol=1e-6)
    lattice = made.lattice
    head, encoded, predicted = lattice.head.on_lattice(lattice.encoded, lattice.predicted)
    expected = transducer_loss_factored(
        head, encoded, predicted, lattice.encoded_lengths, of.labels, of.label_lengths
    )
    np.testing.assert_allclose(exact, expected, rtol=1e-6)


def test_both_joiners_learn_from_a_band():
    def loss(p):
        terms = Transducer(band_width=2)(outputs(p), None, batch(), 0)
        return sum(t.sum() for t in terms.values())

    gradients = jax.jit(jax.grad(loss))(params())
    for name in ("joint", "simple_encoded", "simple_predicted", "encoder", "prediction"):
        assert any(np.any(g) for g in jax.tree.leaves(gradients[name])), name
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients[name])), name


@pytest.mark.parametrize(
    ("objective", "model", "message"),
    [
        (Transducer(band_width=3), {"simple_joiner": False}, r"model\.simple_joiner=True"),
        (CTC(), {"ctc_head": False}, r"model\.ctc_head=True"),
    ],
)
def test_what_the_model_lacks_is_named(objective, model, message):
    objective.check(CONFIG)
    with pytest.raises(ValueError, match=message):
        objective.check(dataclasses.replace(CONFIG, **model))


def test_a_band_of_one_label_is_refused():
    with pytest.raises(ValueError, match="band_width is 1"):
        Transducer(band_width=1)
