import dataclasses
import itertools

import numpy as np
import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from rnnt_qat.adaptation.objectives import label_loss
from rnnt_qat.batch import Batch
from rnnt_qat.export.freeze import freeze
from rnnt_qat.export.thaw import first_difference, thaw
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.latency.layer_costs import LayerCost
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.studies.precision_candidates import (
    STORAGE,
    Candidate,
    SearchConfig,
    front_table,
    mixed,
    pareto_front,
    policy_line,
)
from rnnt_qat.studies.precision_search import search
from rnnt_qat.studies.precision_search_plot import plot_front
from rnnt_qat.studies.search_model import SearchModel, integers_digest
from tests.experiment import tiny

LAYERS = ("encoder/lstm_0", "encoder/projection", "prediction/lstm_0", "joint")
BITS = (2, 4, 8)
CALLS = DecodeCounts(np.array([2.0]), np.array([10]), np.array([4]), np.array([12]))


def costs_of(chunk: int = 1):
    """A call costs its bits, over its chunk; of the joint ten times as much."""
    return {
        width: {
            path: LayerCost((10 if path == "joint" else 1) * width / chunk, width * 100)
            for path in LAYERS
        }
        for width in BITS
    }


def loss_of(bits) -> float:
    """Layers differ in what their bits are worth."""
    return sum(2.0 ** (n - bits[path]) for n, path in enumerate(LAYERS))


def candidate(loss, ms, chunk=1, bits=None) -> Candidate:
    return Candidate("p", bits or {"a": 8, "b": 4}, chunk, loss, ms, 1)


def test_a_line_is_the_policy_that_it_says():
    assert policy_line("ethos_u_8x8_16", {"a": 8, "b": 8}) == "ethos_u_8x8_16"
    assert policy_line("ethos_u_8x8_16", {"a": 4, "b": 4}) == "ethos_u_8x8_16_w4"
    line = policy_line("ethos_u_8x8_16", {"encoder/lstm_0": 2, "joint": 8, "encoder/lstm_1": 4})
    assert line == "ethos_u_8x8_16[encoder/lstm_0:weights=2, encoder/lstm_1:weights=4]"
    assert policy_by_name(line).name == line


@pytest.mark.slow
def test_mixed_integers_are_those_of_the_policy():
    made = tiny.recognizer()
    lines = {8: "ethos_u_8x8_16", 4: "ethos_u_8x8_16_w4", 2: "ethos_u_8x8_16_w2"}
    model = made.config.model
    uniform = {
        width: freeze(RNNT(model, policy_by_name(line)), made.variables)
        for width, line in lines.items()
    }
    bits = dict(zip((*LAYERS, "prediction/projection"), (4, 8, 2, 4, 8), strict=True))
    policy = policy_by_name(policy_line("ethos_u_8x8_16", bits))
    expected = freeze(RNNT(model, policy), made.variables)
    found = dataclasses.replace(mixed(uniform, bits), chip=expected.chip)
    assert first_difference(expected, found) == ""
    assert first_difference(uniform[8], found) != ""
    assert integers_digest(expected) == integers_digest(found) != integers_digest(uniform[8])
    wider = dataclasses.replace(expected.joint.sum, scale=2 * expected.joint.sum.scale)
    joint = dataclasses.replace(expected.joint, sum=wider)
    other = dataclasses.replace(expected, joint=joint)
    assert integers_digest(other) != integers_digest(expected)

    rng = np.random.default_rng(5)
    batches = [
        Batch(
            features=rng.normal(size=(2, 12, made.frontend.config.feature_size)).astype("f"),
            feature_lengths=np.array([12, 8], np.int32),
            labels=np.array([[1, 5, 2], [3, 1, 0]], np.int32),
            label_lengths=np.array(lengths, np.int32),
            utterance_index=np.arange(2, dtype=np.int32),
        )
        for lengths in ((3, 2), (1, 0))
    ]
    parts = [label_loss(thaw(expected, policy), batch) for batch in batches]
    per_label = float(parts[0][0] + parts[1][0]) / 6
    loss = SearchModel("ethos_u_8x8_16", uniform).loss(batches)
    assert loss(bits) == pytest.approx(per_label, rel=1e-5)


def test_the_front_is_what_nothing_betters():
    rng = np.random.default_rng(0)
    many = [candidate(*rng.integers(0, 6, 2), chunk=int(rng.integers(1, 3))) for _ in range(60)]

    def beaten(c):
        pairs = [((o.loss, o.ms_per_second, o.chunk_frames), o) for o in many]
        own = (c.loss, c.ms_per_second, c.chunk_frames)
        return any(o != own and all(a <= b for a, b in zip(o, own, strict=True)) for o, _ in pairs)

    front = pareto_front(many)
    expected = {(c.loss, c.ms_per_second, c.chunk_frames) for c in many if not beaten(c)}
    assert {(c.loss, c.ms_per_second, c.chunk_frames) for c in front} == expected
    assert len(front) == len(expected)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A search in two runs, of which the second is one with twice the trials."""
    folder = tmp_path_factory.mktemp("search")
    config = SearchConfig(bits=BITS, trials=30, population=10)
    costs, counts = {w: {1: c} for w, c in costs_of().items()}, {1: CALLS}
    first = search("ethos_u_8x8_16", config, costs, counts, loss_of, "t", folder)
    asked = []

    def loss(bits):
        asked.append(bits)
        return loss_of(bits)

    longer = dataclasses.replace(config, trials=120)
    everything = search("ethos_u_8x8_16", longer, costs, counts, loss, "t", folder)
    assert len(first) == 30
    assert len(everything) == 120
    assert len(asked) == 90
    assert everything[:30] == first
    return everything


@pytest.mark.parametrize(
    ("what", "changed", "task"),
    [
        ("task", {}, "another target"),
        ("bits", {"bits": (4, 8)}, "t"),
        ("population", {"population": 3}, "t"),
        ("seed", {"seed": 1}, "t"),
    ],
)
def test_a_search_of_another_problem_is_not_gone_on_from(what, changed, task, tmp_path):
    config = SearchConfig(bits=BITS, trials=3, population=2)
    costs, counts = {w: {1: c} for w, c in costs_of().items()}, {1: CALLS}
    search("generic_nna", config, costs, counts, loss_of, "t", tmp_path)
    other = dataclasses.replace(config, **changed)
    with pytest.raises(ConfigError, match=f"differs in {what}: give another folder"):
        search("generic_nna", other, costs, counts, loss_of, task, tmp_path)
    more = dataclasses.replace(config, trials=4, jobs=2)
    assert len(search("generic_nna", more, costs, counts, loss_of, "t", tmp_path)) == 4


@pytest.mark.parametrize("ending", [RuntimeError, SystemExit])  # the second leaves it running
def test_an_interruption_loses_no_uniform_policy(ending, tmp_path):
    config = SearchConfig(bits=BITS, trials=3, population=2)
    costs, counts = {w: {1: c} for w, c in costs_of().items()}, {1: CALLS}

    def interrupted(bits):
        if set(bits.values()) == {4}:
            raise ending
        return loss_of(bits)

    with pytest.raises(ending):
        search("generic_nna", config, costs, counts, interrupted, "t", tmp_path)
    found = search("generic_nna", config, costs, counts, loss_of, "t", tmp_path)
    assert sorted(c.bits["joint"] for c in found if c.uniform) == [2, 4, 8]
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / STORAGE)))
    states = [t.state.name for t in optuna.load_study(study_name=None, storage=storage).trials]
    assert states == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_a_line_that_was_torn_is_cut_off(tmp_path):
    config = SearchConfig(bits=BITS, trials=3, population=2)
    costs, counts = {w: {1: c} for w, c in costs_of().items()}, {1: CALLS}
    first = search("generic_nna", config, costs, counts, loss_of, "t", tmp_path)
    with (tmp_path / STORAGE).open("a") as journal:
        journal.write('{"op_code":6,"worker_id":"x","tri')
    longer = dataclasses.replace(config, trials=4)
    search("generic_nna", longer, costs, counts, loss_of, "t", tmp_path)
    found = search("generic_nna", longer, costs, counts, loss_of, "t", tmp_path)
    assert len(found) == 4
    assert found[:3] == first


def test_what_is_raised_after_a_candidate_ends_the_search(tmp_path):
    config = SearchConfig(bits=BITS, trials=9, population=2)
    costs, counts = {w: {1: c} for w, c in costs_of().items()}, {1: CALLS}
    asked = []

    def lost():
        if len(asked) == 2:
            raise KeyError

    with pytest.raises(KeyError):
        search(
            "generic_nna",
            config,
            costs,
            counts,
            lambda bits: asked.append(bits) or 1.0,
            "t",
            tmp_path,
            saved=lost,
        )
    assert len(asked) == 2


def test_a_continuation_draws_other_candidates(tmp_path):
    config = SearchConfig(bits=BITS, trials=13, population=50)
    costs, counts = {w: {1: c} for w, c in costs_of().items()}, {1: CALLS}
    search("generic_nna", config, costs, counts, loss_of, "t", tmp_path)
    longer = dataclasses.replace(config, trials=23)
    drawn = [c.bits for c in search("generic_nna", longer, costs, counts, loss_of, "t", tmp_path)]
    assert drawn[3:13] != drawn[13:]
    again = search("generic_nna", config, costs, counts, loss_of, "t", tmp_path / "again")
    assert [c.bits for c in again] == drawn[:13]  # the seed decides


def test_the_uniform_policies_come_first_and_the_front_goes_beyond_them(found):
    assert [c.policy for c in found[:3]] == [
        "ethos_u_8x8_16",
        "ethos_u_8x8_16_w4",
        "ethos_u_8x8_16_w2",
    ]
    # calls a second of audio: encoder 5, prediction 2, joint 6 at ten times the cost
    assert found[0].ms_per_second == 8 * (5 + 5 + 2 + 60)
    assert found[0].weight_bytes == 4 * 800
    front = pareto_front(found)
    assert any(not c.uniform for c in front)
    # Every point of the true front of all 81 combinations, or nearly so.
    every = [
        candidate(loss_of(bits), sum(n * b for n, b in zip((5, 5, 2, 60), combo, strict=True)))
        for combo in itertools.product(BITS, repeat=4)
        for bits in [dict(zip(LAYERS, combo, strict=True))]
    ]
    true = {(c.loss, c.ms_per_second) for c in pareto_front(every)}
    hit = true & {(c.loss, c.ms_per_second) for c in front}
    assert len(hit) >= 0.6 * len(true)


def test_the_table_and_the_plot_show_front_and_uniform(found, tmp_path):
    lines = list(front_table(found))
    front = pareto_front(found)
    others = {c.policy for c in found if c.uniform} - {c.policy for c in front}
    assert len(lines) == 2 + len(front) + len(others)
    plot_front(found, tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 10_000


def test_several_chunks_are_a_third_objective(tmp_path):
    config = SearchConfig(bits=(4, 8), chunks=(1, 4), trials=20, population=8, jobs=2)
    costs = {w: {c: costs_of(c)[w] for c in config.chunks} for w in config.bits}
    found = search("generic_nna", config, costs, {1: CALLS, 4: CALLS}, loss_of, "t", tmp_path)
    assert {c.chunk_frames for c in pareto_front(found)} == {1, 4}


def test_options_are_checked():
    with pytest.raises(ValueError, match="bits"):
        SearchConfig(bits=(1, 8))
    with pytest.raises(ValueError, match="chunks"):
        SearchConfig(chunks=())
