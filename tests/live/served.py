"""A server of small recognizers in a thread, for tests of the live page."""

import contextlib
import threading
import time

import uvicorn

from rnnt_qat.decoding.endpoint import EndpointConfig
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.live.app import Page, make_app
from rnnt_qat.live.batch_engine import BatchEngine
from rnnt_qat.live.stream_pool import Limits, StreamPool
from tests.experiment import tiny

CHUNK_MS = 160.0
ENDPOINT = EndpointConfig()


def engine(rows, recognizer=None):
    recognizer = recognizer or tiny.recognizer()
    search = GreedyConfig(tiny.MAX_SYMBOLS)
    return BatchEngine(recognizer, search, CHUNK_MS, rows, ENDPOINT)


@contextlib.contextmanager
def serving(limits=None, models=None, **page):
    """Yields the port of a running server."""
    limits = limits or Limits(streams=3)
    names = models or {"tiny": None}
    engines = {name: engine(limits.streams, recognizer) for name, recognizer in names.items()}
    for each in engines.values():
        each.compile()
    pool = StreamPool(engines, limits)
    app = make_app(pool, Page(chunk_ms=CHUNK_MS, **page))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
