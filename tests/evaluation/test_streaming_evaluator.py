import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig, _pad_rows
from rnnt_qat.metrics.wer import ErrorCounts
from tests.evaluation.toy import (
    FRONTEND,
    LENGTHS,
    RECOGNIZER,
    REFERENCES,
    Letters,
    batches,
    evaluator,
)
from tests.reference.greedy import GreedyReference

PARAMS = RECOGNIZER.params


CHUNKS_MS = (0, 40, 200, 640)


class Planned(list):
    num_shapes = 1


@pytest.fixture(scope="module")
def evaluated():
    """The toy set by chunk size, 0 is whole utterances; and the calls of `progress`."""
    config, calls = EvaluationConfig(GreedyConfig(3), chunk_ms=CHUNKS_MS), []
    subject = evaluator(config, references=REFERENCES, batches=Planned(batches()))
    found = subject.evaluate(PARAMS, "toy", lambda *call: calls.append(call))
    return dict(zip(CHUNKS_MS, found, strict=True)), calls


@pytest.fixture
def results(evaluated):
    return evaluated[0]


@pytest.fixture
def whole(results):
    return results[0]


@pytest.fixture(scope="module")
def shared():
    """Decodes any batches of the toy's shape with one compiled program."""
    held = []
    subject = evaluator(batches=held)

    def decode(batches, references=None):
        held[:] = batches
        subject._references = references
        return subject.evaluate(PARAMS)[0]

    return decode


def test_progress_counts_batches_and_programs_ahead(evaluated):
    sizes, total = len(CHUNKS_MS), len(batches())
    assert evaluated[1][0] == (0, sizes * total, sizes)  # before the first program is compiled
    assert evaluated[1][1:] == [
        (size * total + done, sizes * total, sizes - size - 1)
        for size in range(sizes)
        for done in range(total)
    ]


def test_equals_decoding_each_utterance_alone(whole):
    alone = itertools.chain.from_iterable(
        zip(batch.audio, batch.audio_lengths, strict=True) for batch in batches(empty_rows=False)
    )
    frontend, reference, emitted = jax.jit(FRONTEND.__call__), GreedyReference(RECOGNIZER), 0
    for utterance, (audio, length) in zip(whole.utterances, alone, strict=True):
        padded = np.pad(audio[:length], (0, 16_000 - length))[None]
        features, mask, _ = frontend(padded, np.array([length]))
        want = reference(features[0], int(mask.sum()), max_symbols=3)
        assert list(utterance.tokens) == want.tokens
        assert list(utterance.emission_frames) == want.emission_frames
        emitted += len(want.tokens)
    assert emitted > 20


def test_records(whole):
    assert [u.id for u in whole.utterances] == REFERENCES.ids
    assert [u.reference for u in whole.utterances] == REFERENCES.texts
    np.testing.assert_allclose([u.audio_s for u in whole.utterances], np.array(LENGTHS) / 16_000)
    assert whole.words == ErrorCounts.total(u.words for u in whole.utterances)
    assert whole.words.reference_length == sum(len(t.split()) for t in REFERENCES.texts)
    assert whole.encoder_frame_ms == 40
    assert whole.missing == 0
    for u in whole.utterances:
        assert len(u.emission_frames) == len(u.tokens)
        times = whole.token_times_ms(u)
        assert times == sorted(times)
        assert all(0 < t <= 1000 * u.audio_s for t in times)


@pytest.mark.parametrize("chunk_ms", CHUNKS_MS[1:])
def test_streaming_equals_offline(results, chunk_ms):
    assert results[chunk_ms].chunk_ms == chunk_ms
    assert results[0].chunk_ms is None
    for got, want in zip(results[chunk_ms].utterances, results[0].utterances, strict=True):
        assert got.tokens == want.tokens
        assert got.emission_frames == want.emission_frames
        np.testing.assert_allclose(got.log_prob, want.log_prob, rtol=1e-4)


def test_one_compilation_a_bucket_shape_for_every_checkpoint():
    subject = evaluator(
        EvaluationConfig(chunk_ms=(240, 0)), batches=batches(sizes=(16_000, 19_200)), name="dev"
    )
    first = dict(subject.run(PARAMS))
    assert subject.compilations == 4  # two buckets, two chunk sizes
    assert dict(subject.run(PARAMS)) == first
    louder = jax.tree.map(lambda w: -w, PARAMS)
    assert dict(subject.run(louder)) != first
    assert subject.compilations == 4
    assert first["dev/wer"] == first["dev/wer@0ms"]
    assert first["dev/wer_low"] <= first["dev/wer"] <= first["dev/wer_high"]


def test_without_references_the_labels_are_the_reference(shared):
    result = shared(batches())
    batch = batches()[0]
    want = Letters().decode(batch.labels[0][: batch.label_lengths[0]])
    assert result.utterances[0].reference == want
    assert result.utterances[0].id == "0"


def test_speed_is_measured_on_request():
    subject = evaluator(EvaluationConfig(timed_repeats=2))
    (result,) = subject.evaluate(PARAMS)
    assert result.real_time_factor.repeats == 2
    assert 0 < result.real_time_factor.median < 10
    np.testing.assert_allclose(result.real_time_factor.audio_s, sum(LENGTHS[:3]) / 16_000)
    assert subject.compilations == 1


def test_overflow_is_told():
    config = EvaluationConfig(GreedyConfig(3, max_tokens=1))
    metrics = dict(evaluator(config).run(PARAMS))
    assert metrics["test/overflow_tokens"] > 0


def test_no_utterance_is_an_error(shared):
    with pytest.raises(ValueError, match="iterated again for every evaluation"):
        shared([])


def test_the_same_utterance_twice_is_an_error(shared):
    with pytest.raises(ValueError, match="gave utterance 0 twice"):
        shared(batches() + batches())


def test_missing_utterances_are_counted(shared):
    assert shared(batches()[:1], REFERENCES).missing == len(LENGTHS) - 3


def test_a_chunk_that_cuts_an_encoder_frame_names_the_nearest():
    with pytest.raises(
        ValueError, match=r"chunk_ms=100 is not a multiple .* 40 ms .* nearest is 80"
    ):
        evaluator(EvaluationConfig(chunk_ms=(100,))).evaluate(PARAMS)
    with pytest.raises(ValueError, match="at least one chunk size"):
        EvaluationConfig(chunk_ms=())


MESH_SCRIPT = """
import json, sys, jax, numpy as np
port, process = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
from tests.evaluation.toy import RECOGNIZER, batches, evaluator
params = jax.tree.map(np.asarray, RECOGNIZER.params)
assert (jax.device_count(), jax.local_device_count()) == (4, 2)
# Each process brings half of the rows: 2 of 4 in the first batch, all padded to its 2 devices.
mine = [jax.tree.map(lambda x: x[2 * process : 2 * process + 2], b) for b in batches(rows=4)]
subject = evaluator(batches=mine)
(result,) = subject.evaluate(params)
shapes = [jax.ShapeDtypeStruct(s, t) for s, t in (((4, 16000), "float32"), ((4,), "int32"))]
text = subject._programs[240.0].lower(params, *shapes).compile().as_text()
assert not any(name in text for name in ("all-reduce", "all-gather", "collective")), text
print(json.dumps([[u.tokens, u.emission_frames] for u in result.utterances]))
"""


@pytest.mark.slow
@pytest.mark.exhaustive
def test_four_devices_of_two_processes_decode_the_same_and_never_talk(shared):
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(root),
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", MESH_SCRIPT, str(port), str(process)],
            env=environment,
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    outputs = [run.communicate(timeout=300) for run in runs]
    result = shared(batches(rows=4))
    want = [[list(u.tokens), list(u.emission_frames)] for u in result.utterances]
    for run, (out, error) in zip(runs, outputs, strict=True):
        assert run.returncode == 0, error
        assert json.loads(out.splitlines()[-1]) == want


def test_rows_added_for_the_devices_belong_to_no_utterance():
    (batch, *_) = batches()
    padded = _pad_rows(batch, 4)
    assert padded.audio.shape[0] == 4
    assert list(padded.utterance_index) == [*batch.utterance_index, -1]
    assert (padded.audio_lengths[3], padded.label_lengths[3]) == (0, 0)
    assert not padded.audio[3].any()
    assert _pad_rows(padded, 2).audio.shape[0] == 4
