"""What one core feeds an accelerator: hours of audio an hour, from FLAC in records to batches.

    python -m benchmarks.feeding --data_dir=corpora --split=librispeech/train_part:train

Each stage of the input pipeline is a process on one core: decoding alone, batches of raw audio
(features are then computed on the device), and batches of features. Batches are those of training
on LibriSpeech (``experiments/configs/librispeech.py``) but shorter, bucketed and shuffled, with and
without that config's changes of speed and level; nothing is cached, as a corpus of 960 hours is
not. Times are processor times, so that neighbours cost little; the first batches, which compile,
are not counted.

Then the cores that an accelerator needs: ``--cards`` are names and seconds of audio a second that
training takes, by default published figures (see ``benchmarks/RESULTS.md``).
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from benchmarks.measure import ONE_THREAD, pin
from rnnt_qat.infra.program import run

_OUTPUT = flags.DEFINE_string("output", "feeding.json", "file for the figures")
_DATA = flags.DEFINE_string("data_dir", "corpora", "where corpora are prepared")
_SPLIT = flags.DEFINE_string("split", "librispeech/full_960:train", "CORPUS:SPLIT that is read")
_SECONDS = flags.DEFINE_float("seconds", 2000.0, "audio of a measurement")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "processes of each stage")
_CORE = flags.DEFINE_integer("core", 0, "core that everything is pinned to")
_CARDS = flags.DEFINE_list(
    "cards",
    ["A100, 85 M parameters:2900", "H100, twice as fast:5800"],
    "NAME:SECONDS of audio that a card trains on in a second",
)
_WORKER = flags.DEFINE_string("worker", "", "internal: name of the stage")

STAGES = {
    "decode": "records to audio",
    "audio": "batches of audio",
    "changed": "batches of audio, changed",
    "features": "batches of features",
}
"""Titles of the stages."""

_STAGES = flags.DEFINE_list("stages", list(STAGES), "stages to measure")


def worker(stage: str) -> dict[str, float]:
    """Measures one stage in this process.

    Args:
      stage: one of ``STAGES``.

    Returns:
      Seconds of audio, seconds of processor time, and bytes handed to the device.
    """
    from rnnt_qat.experiment.config import Split
    from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ, open_corpus

    split = Split.parse(_SPLIT.value)
    source = open_corpus(_DATA.value, split.corpus, split.split)
    if stage == "decode":
        _ = source[0].audio  # opens the files
        begun, samples, index = time.process_time(), 0, 0
        while samples < _SECONDS.value * SAMPLE_RATE_HZ:
            samples += len(source[index % len(source)].audio)
            index += 1
        took = time.process_time() - begun
        return {"audio_s": samples / SAMPLE_RATE_HZ, "cpu_s": took, "bytes": 2.0 * samples}
    return _batches(stage, source)


def _batches(stage: str, source) -> dict[str, float]:
    import dataclasses

    import jax
    import numpy as np

    from experiments.configs import librispeech
    from rnnt_qat.frontend.frontend import Frontend
    from rnnt_qat.frontend.statistics import FeatureStats
    from rnnt_qat.input_pipeline.augmentation import WaveformAugmentation
    from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
    from rnnt_qat.input_pipeline.train_iterator import TrainIterator

    config = librispeech.full_960()
    bins = np.zeros(config.frontend.log_mel.num_mel_bins, np.float32)
    frontend = Frontend(config.frontend, FeatureStats(bins, bins + 1))
    pipeline = dataclasses.replace(
        config.pipeline,
        batch_seconds=200.0,
        features_on_host=stage == "features",
        augmentation=config.pipeline.augmentation if stage == "changed" else WaveformAugmentation(),
        read_threads=1,
        prefetch_batches=1,
        cache_bytes=0,
    )
    batches = TrainIterator(source, CharacterTokenizer(), frontend, pipeline, seed=0)
    hop = config.frontend.samples_per_frame / config.frontend.log_mel.sample_rate_hz
    rate = config.frontend.log_mel.sample_rate_hz

    def take() -> tuple[float, int]:
        batch = next(batches)
        if stage == "features":
            audio_s = float(batch.feature_lengths.sum()) * hop
        else:
            audio_s = float(batch.audio_lengths.sum()) / rate
        return audio_s, sum(leaf.nbytes for leaf in jax.tree.leaves(batch))

    shapes = set()
    while len(shapes) < len(batches.buckets) and batches.step < 200:
        batch = next(batches)
        shapes.add(jax.tree.leaves(batch)[0].shape)
    begun, audio_s, size = time.process_time(), 0.0, 0
    while audio_s < _SECONDS.value:
        seconds, nbytes = take()
        audio_s, size = audio_s + seconds, size + nbytes
    took = time.process_time() - begun
    return {"audio_s": audio_s, "cpu_s": took, "bytes": float(size)}


def main() -> None:
    """Measures the stages in turn and prints the tables."""
    if _WORKER.value:
        print(json.dumps(worker(_WORKER.value)))
        return
    pin([_CORE.value])
    passed_on = [f"--{flag.name}={flag.value}" for flag in (_DATA, _SPLIT, _SECONDS)]
    found: dict[str, list[dict]] = {stage: [] for stage in _STAGES.value}
    for _ in range(_ROUNDS.value):
        for stage, rows in found.items():
            command = [sys.executable, "-m", "benchmarks.feeding", f"--worker={stage}", *passed_on]
            environment = {**os.environ, **ONE_THREAD, "JAX_PLATFORMS": "cpu"}
            out = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env=environment
            ).stdout
            rows.append(json.loads(out.splitlines()[-1]))
    cards = [card.rpartition(":")[::2] for card in _CARDS.value]
    titles = ["stage", "seconds of audio a second and core", "kB to the device a second of audio"]
    titles += [f"cores for one {name} ({needed} s a second)" for name, needed in cards]
    print("\n| " + " | ".join(titles) + " |")
    print("|---" + "|---:" * (2 + len(cards)) + "|")
    for stage, rows in found.items():
        rate = statistics.median(row["audio_s"] / row["cpu_s"] for row in rows)
        kilobytes = rows[0]["bytes"] / rows[0]["audio_s"] / 1e3
        cores = " | ".join(f"{float(needed) / rate:.1f}" for _, needed in cards)
        print(f"| {STAGES[stage]} | {rate:,.0f} | {kilobytes:.0f} | {cores} |")
    Path(_OUTPUT.value).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
