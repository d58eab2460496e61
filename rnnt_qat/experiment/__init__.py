"""One experiment: config, training task, runner, and the recognizer that results from it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
