"""A recognizer as its chip stores it: frozen integers, their formats, and the audit."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
