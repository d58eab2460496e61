"""Replay of an exported recognizer in several runtimes, compared integer by integer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
