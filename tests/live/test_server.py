"""The live server: equality with `transcribe`, admission, limits, origins."""

import asyncio
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
import websockets

from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.experiment.recognizer_engine import RecognizerEngine
from rnnt_qat.experiment.transcriber import LiveTranscriber
from rnnt_qat.live.stream_pool import Limits
from tests.experiment import tiny
from tests.live.served import CHUNK_MS, ENDPOINT, serving

pytestmark = pytest.mark.slow
CHUNK = 2560  # 160 ms


def noise(seed, samples):
    return np.random.default_rng(seed).normal(0, 6000, samples).astype(np.int16)


async def stream(port, audio, pieces=(4000,), pause_s=0.0, model="tiny"):
    """Sends audio in pieces of the given sizes in turn; returns a model's messages."""
    async with websockets.connect(f"ws://127.0.0.1:{port}/stream") as socket:
        at, turn = 0, 0
        while at < len(audio):
            size = pieces[turn % len(pieces)]
            await socket.send(audio[at : at + size].tobytes())
            at, turn = at + size, turn + 1
            await asyncio.sleep(pause_s)
        await socket.send("end")
        messages = [json.loads(text) async for text in socket]
    assert messages[-1] == {"done": True}
    return [m for m in messages[:-1] if m["model"] == model]


def transcribed(audio):
    """Returns segments and tokens as `transcribe` does for live audio."""
    search = GreedyConfig(tiny.MAX_SYMBOLS)
    engine = RecognizerEngine(tiny.recognizer(), search, CHUNK_MS, ENDPOINT)
    transcripts = list(LiveTranscriber(engine).transcribe([audio]))
    engine.start()
    tokens = []
    for start in range(0, len(audio), CHUNK):
        tokens += engine.push(audio[start : start + CHUNK]).final
    tokens += engine.end().final
    return transcripts, [engine.piece(label) for label, _, _ in tokens if label >= 0]


def test_many_streams_at_once_equal_transcribe_to_the_token():
    # Of different lengths, one a whole number of chunks, one shorter than a chunk; more than rows
    # in sequence, so that rows are used again.
    recordings = [noise(i, n) for i, n in enumerate((40_000, 8 * CHUNK, 1000, 70_001, 30_000))]

    async def all_at_once(port):
        first = [
            stream(port, audio, pieces, pause)
            for audio, pieces, pause in zip(
                recordings[:3], [(4000,), (317, 5000), (20_000,)], [0.01, 0.02, 0.0], strict=True
            )
        ]
        found = await asyncio.gather(*first)
        return found + await asyncio.gather(
            stream(port, recordings[3], (999,), 0.005), stream(port, recordings[4])
        )

    with serving() as port:
        found = asyncio.run(all_at_once(port))
    batches = {message["batch"] for messages in found for message in messages}
    assert max(batches) > 1  # else nothing was batched
    for audio, messages in zip(recordings, found, strict=True):
        transcripts, tokens = transcribed(audio)
        assert len(tokens) > len(audio) // 8000
        assert [piece for m in messages for piece, _ in m["tokens"]] == tokens
        ours = [t for m in messages for t in m["transcripts"]]
        assert [t["pending"] for t in ours] == [t.pending for t in transcripts]
        assert [t["final"] for t in ours] == [t.final for t in transcripts]
        assert [[w[0] for w in t["words"]] for t in ours] == [
            [w.text for w in t.words] for t in transcripts
        ]


async def refused(port, messages=(), origin=None):
    """Returns the error that a stream ends with, and the code of its close."""
    headers = {"Origin": origin} if origin else {}
    address = f"ws://127.0.0.1:{port}/stream"
    async with websockets.connect(address, additional_headers=headers) as socket:
        for message in messages:
            await socket.send(message)
        error = ""
        try:
            async for text in socket:
                error = json.loads(text).get("error", error)
        except websockets.ConnectionClosedError:
            pass
    return error, socket.close_code


async def stream_when_free(port, audio):
    """The server sees that a client has left some time after the client has."""
    for _ in range(100):
        try:
            return await stream(port, audio)
        except websockets.exceptions.ConnectionClosedError as error:
            if error.rcvd is None or error.rcvd.code != 1013:
                raise
            await asyncio.sleep(0.1)
    raise TimeoutError("the row was not free again within 10 s")


def test_what_is_refused():
    limits = Limits(streams=1, stream_s=1.0, idle_s=3.0, message_bytes=100_000)
    with serving(limits, origins=("https://demo.example",)) as port:
        second = asyncio.run(refused(port, [noise(0, 20_000).tobytes()]))
        assert second == ("a stream may last 1 s", 1009)
        assert asyncio.run(refused(port, [b"abc"])) == (
            "a message holds half a sample: send int16",
            1007,
        )
        assert asyncio.run(refused(port, ["begin"]))[1] == 1007
        assert asyncio.run(refused(port, [bytes(100_002)]))[1] == 1009
        assert asyncio.run(refused(port)) == ("no audio for 3 s", 1009)
        assert asyncio.run(refused(port, origin="https://evil.example"))[1] == 1008
        assert asyncio.run(refused(port, ["x"], origin="https://demo.example"))[1] == 1007
        assert asyncio.run(refused(port, ["x"], origin=f"http://127.0.0.1:{port}"))[1] == 1007
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": "evil.io"})
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(request)
        assert answer.value.code == 400

        async def two():
            async with websockets.connect(f"ws://127.0.0.1:{port}/stream") as socket:
                await socket.send(noise(0, CHUNK).tobytes())
                await socket.recv()
                return await refused(port)

        error, code = asyncio.run(two())
        assert code == 1013
        assert "all 1 streams" in error
        # The row of the client that left is free again, soon, and not marked by what it heard.
        messages = asyncio.run(stream_when_free(port, noise(1, 9000)))
        assert [p for m in messages for p, _ in m["tokens"]] == transcribed(noise(1, 9000))[1]


def test_models_side_by_side_hear_the_same_audio():
    models = {"a": tiny.recognizer(), "b": tiny.recognizer()}
    with serving(models=models) as port:
        info = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/info"))
        assert info["models"] == ["a", "b"]
        audio = noise(5, 30_000)
        for name in models:
            messages = asyncio.run(stream(port, audio, model=name))
            assert [p for m in messages for p, _ in m["tokens"]] == transcribed(audio)[1]
            assert all(m["latency_ms"] >= 0 for m in messages)
