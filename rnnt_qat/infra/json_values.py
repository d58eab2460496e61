"""JSON without the numbers that it has no notation for."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """Replaces NaN and infinities in nested dicts, lists and tuples by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
