import asyncio
import json

import numpy as np
import websockets

from benchmarks.live_client import latencies_ms

RATE, CHUNK_S, DELAY_S = 1000, 0.16, 0.03


async def _serve(socket):
    """Answers each chunk after ``DELAY_S``, and the end as the live server does."""
    heard = 0
    async for message in socket:
        if message == "end":
            break
        before, heard = heard, heard + len(message) // 2
        if int(heard / RATE / CHUNK_S) > int(before / RATE / CHUNK_S):
            await asyncio.sleep(DELAY_S)
            seconds = int(heard / RATE / CHUNK_S) * CHUNK_S
            await socket.send(json.dumps({"model": "m", "seconds": seconds}))
    await socket.send(json.dumps({"model": "m", "seconds": heard / RATE}))
    await socket.send(json.dumps({"done": True}))


async def _measure():
    async with websockets.serve(_serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        audio = np.zeros(round(4.5 * CHUNK_S * RATE), np.int16)
        return await latencies_ms(f"ws://127.0.0.1:{port}", audio, RATE, CHUNK_S)


def test_each_whole_chunk_has_a_latency_and_the_end_has_none():
    latencies = asyncio.run(_measure())
    assert len(latencies) == 4
    assert all(1000 * DELAY_S <= latency < 500 for latency in latencies)
