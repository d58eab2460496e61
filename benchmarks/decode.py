"""Batched streaming greedy decode of a trained recognizer on one CPU core: real-time factors.

    python -m benchmarks.decode --model=workdir/prompts/models/float --output=decode.json
    python -m benchmarks.decode --sizes=full_960 --seconds=4 --batches=1,64 --rounds=3

Recordings of a prepared corpus are joined to streams of equal length and decoded in chunks, all
chunks of a batch inside one program. The program is refused if it holds a call back to the host,
an infeed or an outfeed: nothing leaves the device between the audio and the hypotheses.

``--sizes`` takes a variant of ``experiments/configs/librispeech.py`` instead, with random
parameters whose blank is made just likely enough for about the tokens of speech: work depends on
how many there are, not on which.
"""

import re
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import measure
from rnnt_qat.infra.program import run

_OUTPUT = flags.DEFINE_string("output", "decode.json", "file for the figures")
_MODEL = flags.DEFINE_string("model", "workdir/prompts/models/float", "directory of a recognizer")
_SIZES = flags.DEFINE_string("sizes", "", "variant of the LibriSpeech config instead of --model")
_DATA = flags.DEFINE_string("data_dir", "corpora", "where corpora are prepared")
_SPLIT = flags.DEFINE_string("split", "asterisk_prompts:test", "CORPUS:SPLIT whose speech is heard")
_SECONDS = flags.DEFINE_float("seconds", 10.0, "audio of each stream")
_CHUNK_MS = flags.DEFINE_float("chunk_ms", 240.0, "audio of a chunk")
_STREAMS = flags.DEFINE_list("batches", ["1", "8", "64"], "streams decoded together")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "interleaved steps of each contestant")
_CORE = flags.DEFINE_integer("core", 0, "core that everything is pinned to")
_CLOCK = flags.DEFINE_enum("clock", "cpu", ["cpu", "wall"], "time of the table and its ratios")
_WORKER = flags.DEFINE_integer("worker", 0, "internal: streams of the contestant")

TOKENS_PER_SECOND = (3.0, 24.0)
"""Units of speech: words to characters."""

HOST_TRIPS = re.compile(r"callback|infeed|outfeed|\bsend\(|\brecv\(")


def streams(count: int) -> np.ndarray:
    """``[count, N]`` samples: the split's recordings one after another, cut to equal lengths."""
    from rnnt_qat.batch import to_float
    from rnnt_qat.experiment.config import Split
    from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ, open_corpus

    split = Split.parse(_SPLIT.value)
    corpus = open_corpus(_DATA.value, split.corpus, split.split)
    speech = np.concatenate([to_float(utterance.audio) for utterance in corpus])
    samples = round(_SECONDS.value * SAMPLE_RATE_HZ)
    return np.resize(speech, (count, samples))


def trained():
    """Frontend and transducer of ``--model``."""
    from rnnt_qat.experiment.recognizer import Recognizer

    recognizer = Recognizer.load(Path(_MODEL.value))
    return recognizer.frontend, recognizer.transducer()


def untrained(config, audio: np.ndarray, chunk_ms: float):
    """Frontend and transducer of a config's sizes; random, with about the tokens of speech.

    Args:
      config: an ``ExperimentConfig``.
      audio: one stream ``[1, N]`` on which the blank's bias is set.
      chunk_ms: audio of a chunk.
    """
    import jax
    import jax.numpy as jnp

    from rnnt_qat.decoding.chunk_driver import ChunkDriver
    from rnnt_qat.decoding.greedy import GreedyConfig
    from rnnt_qat.frontend.frontend import Frontend
    from rnnt_qat.frontend.statistics import FeatureStats
    from rnnt_qat.models.bound_transducer import BoundTransducer
    from rnnt_qat.models.rnnt import RNNT, example_inputs
    from rnnt_qat.quant.policies import FLOAT32

    bins = config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(mean=jnp.full(bins, -6.0), std=jnp.full(bins, 3.0))
    frontend, model = Frontend(config.frontend, stats), RNNT(config.model, FLOAT32)
    inputs = example_inputs(config.model, config.frontend.feature_size)
    params = jax.jit(model.init)(jax.random.key(0), *inputs)["params"]
    driver, audio = ChunkDriver(frontend, GreedyConfig().build()), jnp.asarray(audio)
    length = jnp.full((1,), audio.shape[1], jnp.int32)
    seconds = audio.shape[1] / config.frontend.log_mel.sample_rate_hz
    decode = jax.jit(lambda t: driver.decode(t, audio, length, chunk_ms).length[0])

    low, high = 0.0, 20.0
    while True:
        blank = (low + high) / 2
        # A random joint says nearly the same of every frame; a trained one does not.
        kernel, bias = (params["joint"][name] for name in ("kernel", "bias"))
        joint = {"kernel": 10 * kernel, "bias": bias.at[0].set(blank)}
        transducer = BoundTransducer({"params": {**params, "joint": joint}}, model)
        rate = int(decode(transducer)) / seconds
        if TOKENS_PER_SECOND[0] <= rate <= TOKENS_PER_SECOND[1]:
            return frontend, transducer
        if high - low < 1e-5:
            raise ValueError(
                f"no bias of the blank gives the tokens of speech; {blank} gives {rate}/s"
            )
        low, high = (blank, high) if rate > TOKENS_PER_SECOND[1] else (low, blank)


def worker(count: int) -> None:
    """One batch size, served to the parent."""
    import jax
    import jax.numpy as jnp

    from experiments.configs import librispeech
    from rnnt_qat.decoding.chunk_driver import ChunkDriver
    from rnnt_qat.decoding.greedy import GreedyConfig

    if _SIZES.value:
        config = getattr(librispeech, _SIZES.value)()
        frontend, transducer = untrained(config, streams(1), _CHUNK_MS.value)
    else:
        frontend, transducer = trained()
    driver = ChunkDriver(frontend, GreedyConfig().build())
    audio = jnp.asarray(streams(count))
    lengths = jnp.full((count,), audio.shape[1], jnp.int32)
    arguments = (transducer, audio, lengths)
    began = time.perf_counter()
    program = jax.jit(lambda *a: driver.decode(*a, _CHUNK_MS.value)).lower(*arguments).compile()
    compile_s = time.perf_counter() - began
    if found := HOST_TRIPS.search(program.as_text()):
        raise ValueError(f"the decoding program goes to the host: {found.group()}")
    tokens = int(jnp.sum(program(*arguments).length))
    measure.serve(
        lambda: jax.block_until_ready(program(*arguments)),
        {"jax": jax.__version__, "compile_s": compile_s, "tokens": tokens},
    )


def main() -> None:
    if _WORKER.value:
        worker(_WORKER.value)
        return
    measure.pin([_CORE.value])
    passed_on = [
        f"--{flag.name}={flag.value}"
        for flag in (_MODEL, _SIZES, _DATA, _SPLIT, _SECONDS, _CHUNK_MS)
    ]
    rows = measure.measure(
        [
            measure.worker(count, "benchmarks.decode", f"--worker={count}", *passed_on)
            for count in _STREAMS.value
        ],
        _ROUNDS.value,
    )
    print(f"\n{measure.table(rows, _STREAMS.value[0], _CLOCK.value)}\n")
    for row in rows:
        median = statistics.median(row.times(_CLOCK.value))
        rate = int(row.name) * _SECONDS.value / median
        print(
            f"batch {row.name}: real-time factor of a stream {median / _SECONDS.value:.4f}, "
            f"{rate:.0f} s of audio a second, {row.notes['tokens']} tokens, "
            f"compiled in {row.notes['compile_s']:.1f} s"
        )
    measure.save(_OUTPUT.value, {"decode": rows}, sys.argv)


if __name__ == "__main__":
    run(main)
