from .app import Page, make_app
from .batch_engine import BatchEngine, Chunk
from .stream_pool import FullError, Limits, StreamPool

__all__ = ["BatchEngine", "Chunk", "FullError", "Limits", "Page", "StreamPool", "make_app"]
