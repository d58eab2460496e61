"""Encoded recordings on disk, shard by shard, so that a killed preparation goes on where it was.

A shard holds the results of consecutive recordings, in their order. It is complete or absent, and
its name contains a digest of everything that its content depends on: the recordings as listed, the
size and time of their files, the limits and the encoder's version. So a shard of sources that have
changed since is not found, and the recordings are encoded anew.
"""

import functools
import hashlib
import itertools
import json
import pickle
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile

from data.audio import Limits
from data.encoding import Encoded, Recording, encode_all
from data.skips import Cause, SkipError
from rnnt_qat import __version__
from rnnt_qat.infra.durable_files import write_bytes

SHARD = 256
"""Recordings of a shard: at most so many are encoded again after a kill (and what workers hold)."""


class EncodedShards:
    """The shards of one preparation.

    Args:
      folder: folder of the shards; created if missing.
      limits: quality limits of recordings.
      workers: number of encoding processes.

    Attributes:
      reused: number of recordings that were read instead of encoded.
      changed: number of shards that an earlier preparation wrote from sources that have changed.
    """

    def __init__(self, folder: Path, limits: Limits, workers: int):
        self._folder, self._limits, self._workers = folder, limits, workers
        self._folder.mkdir(parents=True, exist_ok=True)
        self.reused = self.changed = 0

    def encode(self, split: str, recordings: Iterable[Recording]) -> Iterator[Encoded]:
        """Yields the results of a split's recordings in order, encoding those without a shard.

        Args:
          split: name of the split.
          recordings: its recordings; read ahead of what is yielded by some chunks per worker.
        """
        # The shards that were begun and not yet yielded: path, results read, number of recordings.
        begun: deque[tuple[Path, list[Encoded] | None, int]] = deque()

        def without_shard() -> Iterator[Recording]:
            remaining = iter(recordings)
            for index in itertools.count():
                listed = list(itertools.islice(remaining, SHARD))
                if not listed:
                    return
                path = self._path(split, index, listed)
                results = self._read(path, len(listed))
                begun.append((path, results, len(listed)))
                if results is None:
                    yield from listed

        results: list[Encoded] = []
        for encoded in encode_all(without_shard(), self._limits, self._workers):
            yield from self._stored(begun)
            results.append(encoded)
            path, _, number = begun[0]
            if len(results) == number:
                _write(path, results)
                begun.popleft()
                results = []
            yield encoded
        yield from self._stored(begun)

    def _stored(self, begun: deque[tuple[Path, list[Encoded] | None, int]]) -> Iterator[Encoded]:
        """Yields the results of the shards at the beginning that were read."""
        while begun and (results := begun[0][1]) is not None:
            begun.popleft()
            self.reused += len(results)
            yield from results

    def _path(self, split: str, index: int, listed: list[Recording]) -> Path:
        digest = hashlib.sha256(
            pickle.dumps((__version__, soundfile.__libsndfile_version__, self._limits))
        )
        for recording in listed:
            digest.update(pickle.dumps(recording))
            digest.update(repr([_state(path) for path in _files(recording.decode)]).encode())
        return self._folder / f"{split}-{index:05d}-{digest.hexdigest()[:32]}.shard"

    def _read(self, path: Path, number: int) -> list[Encoded] | None:
        """Returns a shard's results; None if it is absent, damaged or of other sources."""
        prefix = re.fullmatch(r"(.*-\d{5}-)[0-9a-f]+\.shard", path.name)
        assert prefix is not None
        for other in self._folder.glob(f"{prefix.group(1)}*.shard"):
            if other != path:
                self.changed += 1
                other.unlink()
        try:
            results = _parse(path.read_bytes())
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return results if len(results) == number else None


def _files(decode: Any) -> list[Path]:
    """Returns the files among the arguments of a decoder, which is a ``functools.partial``."""
    if not isinstance(decode, functools.partial):
        return []
    values = [*decode.args, *decode.keywords.values()]
    return [value for value in values if isinstance(value, Path)]


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None  # its decoder says what is wrong with it
    return status.st_size, status.st_mtime_ns


def _write(path: Path, results: list[Encoded]) -> None:
    """Writes a shard: a line of JSON with a checksum, then the recordings' FLAC."""
    rows = [
        {
            "id": item.id,
            "speaker": item.speaker,
            "text": item.text,
            "num_samples": item.num_samples,
            "bytes": len(item.flac),
            "skip": None if item.error is None else [item.error.cause, item.error.detail],
        }
        for item in results
    ]
    flac = b"".join(item.flac for item in results)
    header = {"sha256": _checksum(rows, flac), "recordings": rows}
    write_bytes(path, json.dumps(header).encode() + b"\n" + flac)


def _parse(content: bytes) -> list[Encoded]:
    """Returns the results that `_write` wrote.

    Raises:
      ValueError, KeyError, TypeError: if the content is damaged.
    """
    line, _, flac = content.partition(b"\n")
    header = json.loads(line)
    if header["sha256"] != _checksum(header["recordings"], flac):
        raise ValueError("a shard changed since it was written")
    results, start = [], 0
    for row in header["recordings"]:
        error = None if row["skip"] is None else SkipError(Cause(row["skip"][0]), row["skip"][1])
        own = flac[start : start + row["bytes"]]
        start += row["bytes"]
        results.append(
            Encoded(row["id"], row["speaker"], row["text"], row["num_samples"], own, error)
        )
    return results


def _checksum(rows: Sequence[Mapping[str, Any]], flac: bytes) -> str:
    return hashlib.sha256(json.dumps(rows).encode() + flac).hexdigest()
