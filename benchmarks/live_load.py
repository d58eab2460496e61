"""Streams that the live server holds at real time on one core, and the latency of its partials.

    python -m benchmarks.live_load --model=data/pretrained/assistant --streams=1,8,16,32

For each number of streams a server with that many rows is started on one core. As many clients
(`live_client.py`) send speech of a test set at real time, 80 ms a message, and note how long after
the last sample of a chunk was sent its result arrived. One more client must be refused. A number of
streams is held if the 99th percentile is below the chunk's own length.
"""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import websockets
from absl import flags

from benchmarks.live_client import latencies_ms
from rnnt_qat.infra.program import run
from rnnt_qat.input_pipeline.corpus import open_corpus

_MODEL = flags.DEFINE_string("model", "data/pretrained/assistant", "Model directories, by comma.")
_STREAMS = flags.DEFINE_list("streams", ["1", "8", "16", "32"], "Numbers of streams to try.")
_SECONDS = flags.DEFINE_float("seconds", 20.0, "Seconds of audio a stream.")
_CHUNK_MS = flags.DEFINE_float("chunk_ms", 240.0, "The server's chunks.")
_CORE = flags.DEFINE_integer("core", 0, "The server's core.")
_TEST = flags.DEFINE_string("test", "asterisk_prompts:test", "CORPUS:SPLIT whose speech is sent.")
_DATA = flags.DEFINE_string("data_dir", "corpora", "Where corpora are prepared.")
_PORT = 8765


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured at one number of streams.

    Attributes:
      streams: number of streams.
      latencies_ms: wall time from the last sample of a chunk to its result.
      server_s: processor time of the server for each second of wall time.
      refused: whether one more stream was refused.
    """

    streams: int
    latencies_ms: np.ndarray
    server_s: float
    refused: bool

    def __str__(self) -> str:
        """One line of the table."""
        p50, p99 = np.percentile(self.latencies_ms, [50, 99])
        held = "yes" if p99 < _CHUNK_MS.value else "no"
        refused = "refused" if self.refused else "ADMITTED"
        return (
            f"| {self.streams} | {p50:.0f} | {p99:.0f} | {held} | {self.server_s:.2f} | {refused} |"
        )


async def _one_more() -> bool:
    """Returns whether another stream is refused."""
    await asyncio.sleep(3.0)
    async with websockets.connect(f"ws://127.0.0.1:{_PORT}/stream") as socket:
        try:
            return "error" in json.loads(await asyncio.wait_for(socket.recv(), 2.0))
        except TimeoutError:
            return False


def _measure(streams: int, audio: np.ndarray, rate: int) -> Row:
    command = [
        sys.executable, "-m", "experiments.serve", f"--model={_MODEL.value}", f"--port={_PORT}",
        f"--chunk_ms={_CHUNK_MS.value}", f"--max_streams={streams}",
    ]  # fmt: skip
    server = subprocess.Popen(["taskset", "-c", str(_CORE.value), *command])
    try:
        _wait_for(server)
        samples, rng = round(_SECONDS.value * rate), np.random.default_rng(streams)
        places = rng.integers(0, len(audio) - samples, streams)
        waits = rng.uniform(0, _CHUNK_MS.value / 1000, streams)

        async def everyone():
            parts = [audio[p : p + samples] for p in places]
            address, chunk_s = f"ws://127.0.0.1:{_PORT}/stream", _CHUNK_MS.value / 1000
            clients = [
                latencies_ms(address, audio, rate, chunk_s, wait)
                for audio, wait in zip(parts, waits, strict=True)
            ]
            *found, refused = await asyncio.gather(*clients, _one_more())
            return np.concatenate(found), refused

        before, began = _processor_s(server.pid), time.perf_counter()
        latencies, refused = asyncio.run(everyone())
        used = (_processor_s(server.pid) - before) / (time.perf_counter() - began)
        return Row(streams, latencies, used, refused)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def _wait_for(server: subprocess.Popen) -> None:
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{_PORT}/info"):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the server ended; see its message above")


def _processor_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Prints a table."""
    corpus, _, split = _TEST.value.rpartition(":")
    source = open_corpus(_DATA.value, corpus, split)
    audio = np.concatenate([source[i].audio for i in range(min(len(source), 40))])
    while len(audio) < 2 * _SECONDS.value * source.sample_rate_hz:
        audio = np.concatenate([audio, audio])
    header = ("streams", "wait p50, ms", "wait p99, ms", "held", "processor, s / s", "one more")
    print(
        f"chunks of {_CHUNK_MS.value:g} ms of audio, {_SECONDS.value:g} s a stream; ms of wall "
        "time from the last sample of a chunk to its result\n"
    )
    print(f"| {' | '.join(header)} |\n|{'---:|' * len(header)}", flush=True)
    for streams in _STREAMS.value:
        print(_measure(int(streams), audio, source.sample_rate_hz), flush=True)


if __name__ == "__main__":
    run(main)
