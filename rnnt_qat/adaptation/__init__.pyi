from .bit_errors import flip_bits
from .evolution import EvolutionConfig, evolve
from .grid import Grid
from .objectives import OBJECTIVES

__all__ = ["OBJECTIVES", "EvolutionConfig", "Grid", "evolve", "flip_bits"]
