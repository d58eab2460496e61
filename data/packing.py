"""Packed corpora: splits of prepared corpora as Opus, in some per cent of their bytes.

`rnnt_qat.input_pipeline.packed_records` describes the files. A packed corpus is read like a
prepared one, under the same name, and says in preparation.json that it is packed and how.
"""

import concurrent.futures
import io
import json
import shutil
from pathlib import Path

import numpy as np
from jaxtyping import Int16

from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress
from rnnt_qat.input_pipeline.corpus import CHECKSUM, SAMPLE_RATE_HZ, Corpus, preparation_checksum
from rnnt_qat.input_pipeline.packed_records import BYTES, packed_path

PACKED = "packed"
"""Key in preparation.json of the bit rates by split; 0 is a split without audio."""

WIDE_BIT_RATE = 9000
"""Lowest bit rate at which the encoder keeps the band above 4 kHz (in av 18.1)."""

_PREPARATION = "preparation.json"
_COPIED = ("features.json", "skip_report.json")


def encode_opus(audio: Int16[np.ndarray, " N"], bit_rate: int) -> bytes:
    """Encodes samples at `SAMPLE_RATE_HZ` as Opus in Ogg; as many samples decode.

    Frames of 60 ms and the encoder's speech mode: at these rates a file takes fewer bytes than with
    its defaults of 20 ms, and the audio is closer to the original.

    Args:
      audio: samples.
      bit_rate: target of the variable bit rate in bits per second, at least 6000.
    """
    import av  # needs the extra `data`

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="mono")
        stream.bit_rate = bit_rate
        stream.options = {
            "application": "voip",
            "frame_duration": "60",
            "vbr": "on",
            "compression_level": "10",
        }
        frame = av.AudioFrame.from_ndarray(audio[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


def pack_split(
    corpus: Corpus, target: Path, bit_rate: int, threads: int = 1, console: Console | None = None
) -> int:
    """Packs a split.

    Args:
      corpus: the split, of a prepared corpus.
      target: directory of the packed corpus, including the version; created if missing. Splits
        that were packed there before are kept.
      bit_rate: bits per second, at least 6000; 0 packs transcripts alone.
      threads: number of threads that encode.
      console: output of progress.

    Returns:
      The bytes of the split's audio.
    """
    target.mkdir(parents=True, exist_ok=True)
    lengths = [0] * len(corpus)
    if bit_rate:
        with (
            packed_path(target, corpus.split).open("wb") as file,
            concurrent.futures.ThreadPoolExecutor(threads) as pool,
            Progress(
                f"packing {corpus.directory}:{corpus.split}", console, "recordings"
            ) as progress,
        ):
            sounds = pool.map(lambda i: encode_opus(corpus[i].audio, bit_rate), range(len(corpus)))
            for i, sound in enumerate(progress.each(sounds, len(corpus))):
                lengths[i] = file.write(sound)
    index = corpus.directory / f"index-{corpus.split}.jsonl"
    lines = index.read_text("utf-8").splitlines()
    with (target / index.name).open("w", encoding="utf-8") as file:
        for line, length in zip(lines, lengths, strict=True):
            file.write(json.dumps(json.loads(line) | {BYTES: length}) + "\n")
    for name in _COPIED:
        shutil.copy(corpus.directory / name, target / name)
    _describe(corpus, target, bit_rate)
    return sum(lengths)


def _describe(corpus: Corpus, target: Path, bit_rate: int) -> None:
    """Adds the split to the packed corpus' preparation.json."""
    path = target / _PREPARATION
    source = path if path.exists() else corpus.directory / _PREPARATION
    preparation = json.loads(source.read_text("utf-8"))
    preparation[PACKED] = preparation.get(PACKED, {}) | {corpus.split: bit_rate}
    preparation[CHECKSUM] = preparation_checksum(preparation)
    path.write_text(json.dumps(preparation, indent=1) + "\n", "utf-8")
