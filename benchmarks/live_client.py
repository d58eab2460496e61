"""A client of the live server that sends audio at real time and notes how long results take."""

import asyncio
import json
import time

import numpy as np
import websockets

MESSAGE_S = 0.08


async def latencies_ms(
    address: str, audio: np.ndarray, rate_hz: int, chunk_s: float, wait_s: float = 0.0
) -> list[float]:
    """Sends audio at real time and returns the latency of each whole chunk.

    Args:
      address: address of the server's WebSocket.
      audio: int16 samples, ``[N]``.
      rate_hz: sample rate in Hz.
      chunk_s: the server's chunk in seconds of audio.
      wait_s: seconds to wait before the first message.

    Returns:
      Wall time in ms from sending the last sample of a chunk to the arrival of its result.

    Raises:
      RuntimeError: if the server sends an error.
    """
    await asyncio.sleep(wait_s)
    sent: dict[int, float] = {}
    latencies = []
    async with websockets.connect(address, max_size=None) as socket:

        async def send() -> None:
            size, began = round(MESSAGE_S * rate_hz), time.perf_counter()
            for number, start in enumerate(range(0, len(audio), size)):
                await asyncio.sleep(began + number * MESSAGE_S - time.perf_counter())
                await socket.send(audio[start : start + size].tobytes())
                chunks = int((start + size) / rate_hz / chunk_s + 1e-6)
                sent.setdefault(chunks, time.perf_counter())
            await socket.send("end")

        sending = asyncio.create_task(send())
        async for text in socket:
            message = json.loads(text)
            if "error" in message:
                raise RuntimeError(message["error"])
            if "seconds" not in message:
                continue  # the last message: the stream is done
            chunk = message["seconds"] / chunk_s
            if abs(chunk - round(chunk)) < 1e-3 and round(chunk) in sent:
                latencies.append(1000 * (time.perf_counter() - sent[round(chunk)]))
        await sending
    return latencies
