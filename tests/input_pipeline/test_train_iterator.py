import collections
import dataclasses
import json
import re

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_qat.batch import AudioBatch, Batch
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.infra.program import explain
from rnnt_qat.input_pipeline.augmentation import WaveformAugmentation
from rnnt_qat.input_pipeline.cache import Cache
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.input_pipeline.eval_batches import EvalBatches
from rnnt_qat.input_pipeline.mixture import Mixture
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.input_pipeline.train_iterator import InputPositionError, TrainIterator
from tests.input_pipeline.speech import NoiseCorpus

FRONTEND = Frontend(
    FrontendConfig(LogMelConfig(num_mel_bins=8), stack=3),
    FeatureStats(np.full(8, -3, np.float32), np.full(8, 2, np.float32)),
)
SOURCE = Mixture([NoiseCorpus(50, seed=1), NoiseCorpus(7, seed=2)], [1, 2])
PLAIN = PipelineConfig(num_buckets=3, batch_seconds=30.0, features_on_host=False)
BUSY = PipelineConfig(
    num_buckets=3,
    batch_seconds=30.0,
    features_on_host=False,
    augmentation=WaveformAugmentation((0.9, 1.0, 1.1), (-6, 6), 0.5),
)


def make(config=PLAIN, source=SOURCE, **kwargs):
    kwargs = {"seed": 3, "row_multiple": 4, **kwargs}
    return TrainIterator(source, CharacterTokenizer(), FRONTEND, config, **kwargs)


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def assert_same(one, two):
    assert len(one) == len(two)
    jax.tree.map(np.testing.assert_array_equal, one, two)


@pytest.mark.parametrize("config", [PLAIN, BUSY], ids=["plain", "augmented"])
def test_an_epoch_has_every_example_once_in_a_bucket_shape(config):
    iterator = make(config)
    shapes = {(b.batch_size, b.num_samples): b.num_labels for b in iterator.buckets}
    speeds_seen = collections.Counter()
    for epoch in range(2):
        seen = collections.Counter()
        for batch in take(iterator, iterator.batches_in_epoch(epoch)):
            assert isinstance(batch, AudioBatch)
            assert batch.labels.shape[1] == shapes[batch.audio.shape]
            assert batch.audio.shape[1] % (FRONTEND.config.samples_per_frame * 8) == 0
            for audio, n, labels, u, index in zip(*jax.tree.leaves(batch), strict=True):
                assert not audio[n:].any()
                assert not labels[u:].any()
                if index < 0:
                    assert n == u == 0
                    continue
                seen[int(index)] += 1
                assert CharacterTokenizer().decode(labels[:u]) == SOURCE.texts[index]
                original = SOURCE[index].audio
                speeds_seen[round(len(original) / n, 1)] += 1
                if config is PLAIN:
                    np.testing.assert_array_equal(audio[:n] * 32768, original)
        assert seen == {i: SOURCE.repeats[i] for i in range(len(SOURCE))}
    assert set(speeds_seen) == ({1.0} if config is PLAIN else {0.9, 1.0, 1.1})


def test_the_same_seed_gives_the_same_batches_and_another_seed_others():
    count = 20
    assert_same(take(make(BUSY), count), take(make(BUSY), count))
    other = take(make(BUSY, seed=4), count)
    assert any(
        a.audio.shape != b.audio.shape or (a.utterance_index != b.utterance_index).any()
        for a, b in zip(take(make(BUSY), count), other, strict=True)
    )


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 60))
def test_a_restored_iterator_continues_as_if_never_stopped(stop):
    whole = take(make(BUSY), stop + 4)
    stopped = make(BUSY)
    take(stopped, stop)
    state = json.loads(json.dumps(stopped.state()))
    resumed = make(BUSY)
    resumed.restore(state)
    assert resumed.step == stop
    assert_same(take(resumed, 4), whole[stop:])
    assert resumed.state()["step"] == stop + 4


@pytest.mark.parametrize("on_host", [False, True])
def test_batches_may_get_another_size_on_the_way(on_host):
    """From then on they are those of a run that always had it, at the same position."""
    config = dataclasses.replace(PLAIN, features_on_host=on_host)
    other = dataclasses.replace(config, batch_seconds=70.5)
    whole = take(make(other), 9)
    iterator = make(config)
    take(iterator, 5)
    before = iterator.state()
    iterator.resize(70.5)
    assert (iterator.step, iterator.batch_seconds) == (5, 70.5)
    assert iterator.buckets == make(other).buckets
    assert_same(take(iterator, 2), whole[5:7])
    # The size is a part of the position, so that a new process needs no other way to know it.
    state = json.loads(json.dumps(iterator.state()))
    resumed = make(config)
    resumed.restore(state)
    assert_same(take(resumed, 2), whole[7:9])
    # An earlier position brings its own size.
    resumed.restore(before)
    assert resumed.batch_seconds == 30.0
    assert_same(take(resumed, 2), take(make(config), 7)[5:])
    assert before.keys() == {"step", "data"}


@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
def test_shapes_of_batches_are_known_before_there_are_any(on_host, processes):
    config = dataclasses.replace(PLAIN, features_on_host=on_host)
    iterator = make(config, process_count=processes)
    shapes = iterator.batch_shapes(70.5)
    iterator.resize(70.5)
    kinds = set()
    for batch in take(iterator, iterator.batches_in_epoch(0)):
        kinds.add(
            tuple((processes * len(x), *x.shape[1:], x.dtype) for x in jax.tree.leaves(batch))
        )
    expected = {tuple((*s.shape, s.dtype) for s in jax.tree.leaves(shape)) for shape in shapes}
    assert kinds <= expected
    assert len(kinds) >= 2


def test_limits_of_the_size_are_the_longest_rows_and_an_epoch():
    iterator = make()
    least, most = iterator.size_limits
    assert least == pytest.approx(4 * iterator.buckets[-1].num_samples / 16_000, abs=0.11)
    assert most == pytest.approx((SOURCE.repeats * SOURCE.num_samples).sum() / 16_000)
    assert [b.batch_size for b in make(dataclasses.replace(PLAIN, batch_seconds=least)).buckets][
        -1
    ] == 4
    with pytest.raises(ConfigError, match="cannot hold 4 rows"):
        iterator.resize(least - 0.2)


def test_what_is_loaded_before_is_read_once_and_shared():
    source, cache, done = NoiseCorpus(20, seed=4), Cache(BUSY.cache_bytes), []
    first = make(BUSY, source, cache=cache)
    first.load(lambda read, of: done.append((read, of)))
    assert source.reads == len(source)
    assert done[-1] == (len(source), len(source))
    short = dataclasses.replace(BUSY, max_seconds=3.0)
    assert len(take(make(short, source, cache=cache), 3)) == 3
    batches = take(first, 4)
    assert source.reads == len(source)
    assert_same(batches, take(make(BUSY, source), 4))


def test_threads_and_cache_change_nothing():
    single = dataclasses.replace(BUSY, read_threads=1, prefetch_batches=1, cache_bytes=0)
    many = dataclasses.replace(BUSY, read_threads=8, prefetch_batches=16)
    assert_same(take(make(single), 30), take(make(many), 30))


@pytest.mark.parametrize("count", [2, 4])
def test_processes_partition_every_batch(count):
    whole = take(make(BUSY), 25)
    parts = [take(make(BUSY, process_index=i, process_count=count), 25) for i in range(count)]
    joined = [
        jax.tree.map(lambda *rows: np.concatenate(rows), *batches)
        for batches in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)


def test_features_on_the_host_are_the_devices():
    on_host = make(dataclasses.replace(BUSY, features_on_host=True))
    on_device = jax.jit(FRONTEND.batch)
    for host, audio in zip(take(on_host, 4), take(make(BUSY), 4), strict=True):
        assert isinstance(host, Batch)
        assert host.features.shape[1] % 8 == 0
        assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(host))
        jax.tree.map(np.testing.assert_array_equal, host, on_device(audio))


def test_every_epoch_draws_its_own_order_speeds_and_noise():
    iterator = make(BUSY)
    epochs = [take(iterator, iterator.batches_in_epoch(e)) for e in range(2)]
    rows = []
    for batches in epochs:
        found = {}
        for batch in batches:
            for audio, n, index in zip(
                batch.audio, batch.audio_lengths, batch.utterance_index, strict=True
            ):
                found[int(index)] = audio[:n]
        rows.append(found)
    same = [np.array_equal(rows[0][i], rows[1][i]) for i in range(50)]
    assert not any(same)


def test_another_run_s_position_is_refused():
    state = make().state()
    for other in (make(seed=4), make(BUSY), make(source=NoiseCorpus(50, seed=1))):
        with pytest.raises(InputPositionError, match="belongs to other training data") as error:
            other.restore(state)
        message, code = explain(error.value)
        assert code == 1
        assert re.search(r"--cpu_devices.* --config\.pipeline\.row_multiple", message)
    # The same run on another number of processes is welcome.
    make(process_index=1, process_count=2).restore(state)


def test_a_run_that_began_before_the_bandwidth_was_a_field_goes_on():
    assert make(BUSY).state()["data"] == "8c0ac953eb0c673e"  # of commit 5df789e
    augmentation = dataclasses.replace(BUSY.augmentation, half_band_probability=0.5)
    narrow = make(dataclasses.replace(BUSY, augmentation=augmentation))
    assert narrow.state()["data"] != "8c0ac953eb0c673e"


def test_decoded_audio_is_read_once_while_it_fits():
    corpus = NoiseCorpus(30)
    iterator = make(source=corpus)
    take(iterator, sum(iterator.batches_in_epoch(e) for e in range(3)))
    assert corpus.reads <= 30 + 8, "a second thread may read what the first is still reading"


def test_rows_that_processes_cannot_share_are_refused():
    with pytest.raises(ValueError, match="4 rows cannot be shared by 3 processes"):
        make(process_count=3)


def test_a_reading_error_reaches_the_caller():
    corpus = NoiseCorpus(30)
    iterator = make(source=corpus)
    corpus.num_samples[:] = corpus.num_samples + 10**6
    with pytest.raises(ValueError, match="broadcast"):
        take(iterator, 10)


@pytest.mark.parametrize("processes", [1, 2])
def test_evaluation_reads_everything_once_and_again(processes):
    corpus = NoiseCorpus(45)
    corpus.num_samples[7] = 25 * 16_000  # past max_seconds, and past the budget of a batch

    def evaluate(index):
        return EvalBatches(
            corpus, CharacterTokenizer(), FRONTEND.config, PLAIN,
            row_multiple=4, process_index=index, process_count=processes,
        )  # fmt: skip

    batches = [evaluate(i) for i in range(processes)]
    seen = np.concatenate([b.utterance_index for part in batches for b in part])
    assert sorted(seen[seen >= 0]) == list(range(45))
    assert_same(list(batches[0]), list(batches[0]))
    shapes = [b.audio.shape[1] for b in batches[0]]
    assert len(shapes) == len(batches[0])
    assert shapes == sorted(shapes)
    assert len(set(shapes)) <= 3
    for batch in batches[0]:
        for audio, n, index in zip(
            batch.audio, batch.audio_lengths, batch.utterance_index, strict=True
        ):
            if index >= 0:
                np.testing.assert_array_equal(audio[:n] * 32768, corpus[index].audio)
