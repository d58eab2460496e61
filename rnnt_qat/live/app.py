"""The web application: the page, facts about the models, and a WebSocket per stream.

A client sends int16 samples, little-endian and mono, in binary messages, and the text ``end``. It
receives one JSON message per model and chunk, and a last one ``{"done": true}``. Errors are
``{"error": ...}`` before the socket is closed with one of the codes below.
"""

import asyncio
import contextlib
import dataclasses
import urllib.parse
from collections.abc import AsyncIterator, Sequence

import jinja2
import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from rnnt_qat.live.stream_pool import FullError, Stream, StreamLimitError, StreamPool

CLOSED_FULL, CLOSED_LIMIT, CLOSED_ORIGIN, CLOSED_DATA = 1013, 1009, 1008, 1007
"""Codes of RFC 6455 and its registry: try again later, too big, policy, wrong data."""

LOOPBACK = ("127.0.0.1", "localhost")
"""Names of this machine for itself."""

_POLICY = "default-src 'self' 'unsafe-inline' blob:; connect-src 'self' ws: wss:; img-src data:"


@dataclasses.dataclass(frozen=True)
class Page:
    """What the page shows beside the streams.

    Attributes:
      origins: origins of pages that may open streams, beside the server's own.
      hosts: names by which the server may be addressed; ``*`` for any. Others are refused, so that
        no page can reach a server of this machine under a name of its own.
      chunk_ms: audio per chunk in milliseconds.
    """

    origins: Sequence[str] = ()
    hosts: Sequence[str] = LOOPBACK
    chunk_ms: float = 240.0


def make_app(pool: StreamPool, page: Page) -> Starlette:
    """Returns the application.

    Args:
      pool: recognition of the streams; started and stopped with the application.
      page: what the page shows, and who may open streams.
    """
    facts = {
        "models": list(pool.engines),
        "sample_rate_hz": pool.sample_rate_hz,
        "chunk_ms": page.chunk_ms,
        "limits": dataclasses.asdict(pool.limits),
    }
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("rnnt_qat.live", "page"),
                jinja2.PackageLoader("rnnt_qat.report", "templates"),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template("live.html.j2").render(facts=facts)

    async def show(request: Request) -> HTMLResponse:
        policy = (
            "default-src 'self' 'unsafe-inline' blob:; connect-src 'self' ws: wss:; img-src data:"
        )
        return HTMLResponse(text, headers={"content-security-policy": policy})

    async def info(request: Request) -> JSONResponse:
        return JSONResponse(facts)

    async def stream(socket: WebSocket) -> None:
        await _serve(socket, pool, page.origins)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        pool.start()
        yield
        await pool.stop()

    routes = [Route("/", show), Route("/info", info), WebSocketRoute("/stream", stream)]
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=list(page.hosts))
    return Starlette(routes=routes, middleware=[trusted], lifespan=lifespan)


async def _serve(socket: WebSocket, pool: StreamPool, origins: Sequence[str]) -> None:
    """Serves one stream from its admission to its last result."""
    await socket.accept()
    if not _allowed(socket, origins):
        await _refuse(socket, "this origin may not open streams (--origins)", CLOSED_ORIGIN)
        return
    try:
        stream = pool.open()
    except FullError as error:
        await _refuse(socket, str(error), CLOSED_FULL)
        return
    receiving = asyncio.create_task(_receive(socket, pool, stream))
    sending = asyncio.create_task(_send(socket, stream))
    try:
        await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
        if receiving.done():
            receiving.result()  # raises what ended it too early
            await sending
        else:
            sending.result()
        await socket.close()
    except WebSocketDisconnect:
        pass
    except StreamLimitError as error:
        await _refuse(socket, str(error), CLOSED_LIMIT)
    except _DataError as error:
        await _refuse(socket, str(error), CLOSED_DATA)
    finally:
        for task in (receiving, sending):
            task.cancel()
        pool.drop(stream)


class _DataError(Exception):
    """A message that is neither samples nor ``end``."""


async def _receive(socket: WebSocket, pool: StreamPool, stream: Stream) -> None:
    """Feeds a stream with a client's messages until it ends."""
    while True:
        # A sender that is far ahead is not read, so that TCP makes it wait.
        await stream.room.wait()
        try:
            message = await asyncio.wait_for(socket.receive(), pool.limits.idle_s)
        except TimeoutError:
            raise StreamLimitError(f"no audio for {pool.limits.idle_s:g} s") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        data: bytes | None = message.get("bytes")
        if data is None:
            if message.get("text") != "end":
                raise _DataError("send int16 samples in binary messages, and the text end")
            pool.end(stream)
            return
        if len(data) > pool.limits.message_bytes:
            raise StreamLimitError(f"a message may hold {pool.limits.message_bytes} bytes")
        if len(data) % 2:
            raise _DataError("a message holds half a sample: send int16")
        pool.feed(stream, np.frombuffer(data, "<i2").astype(np.int16))


async def _send(socket: WebSocket, stream: Stream) -> None:
    """Sends a stream's results to its last one."""
    while (result := await stream.results.get()) is not None:
        await socket.send_json(result)
    if stream.done:
        await socket.send_json({"done": True})
    else:
        await socket.send_json({"error": "the recognition has failed; see the server's log"})


async def _refuse(socket: WebSocket, reason: str, code: int) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # the client may be gone
        await socket.send_json({"error": reason})
        await socket.close(code, reason[:120])


def _allowed(socket: WebSocket, origins: Sequence[str]) -> bool:
    """Returns whether a socket was opened by the server's own page, an allowed one, or a program.

    Browsers let any page open a socket to any address and name the page's origin; programs send
    none.
    """
    origin = socket.headers.get("origin")
    if origin is None or origin in origins:
        return True
    return urllib.parse.urlsplit(origin).netloc == socket.headers.get("host")
