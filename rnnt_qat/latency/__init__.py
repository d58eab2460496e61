"""Costs of a recognizer on a chip: the vendor's compiler, placement, the CPU's share, tables."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
