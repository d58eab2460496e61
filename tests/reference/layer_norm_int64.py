"""Integer layer normalization in NumPy's int64, one row at a time, from LiteRT's description."""

import numpy as np


def _divide(a: int, b: int) -> int:
    """C's division: toward zero."""
    return abs(a) // b if a >= 0 else -(abs(a) // b)


def _high_multiply(a: int, b: int) -> int:
    """SQRDMULH as gemmlowp writes it: the nudge follows the sign, the division truncates."""
    if a == b == -(2**31):
        return 2**31 - 1
    product = a * b
    return _divide(product + ((1 << 30) if product >= 0 else 1 - (1 << 30)), 1 << 31)


def _clip(x: int) -> int:
    return max(-(2**31), min(2**31 - 1, x))


def _shift_away(x: int, places: int) -> int:
    mask = (1 << places) - 1
    return (x >> places) + int((x & mask) > (mask >> 1) + int(x < 0))


def inverse_square_root(x: int) -> tuple[int, int]:
    """Significand and left shift of 1 / sqrt(x)."""
    if x <= 1:
        return 2**31 - 1, 0
    shift = 11
    while x >= 1 << 29:
        x //= 4
        shift += 1
    pairs = 0
    while x << 2 * (pairs + 1) < 1 << 29:
        pairs += 1
    shift -= pairs
    x = (x << 2 * pairs) >> 1
    half = _shift_away(x, 1)
    root = 1 << 28
    for _ in range(5):
        cube = _clip(_high_multiply(_high_multiply(root, root), root) << 6)
        difference = _high_multiply((1 << 28) + (1 << 27), root) - _high_multiply(half, cube)
        root = _clip(difference << 3)
    root = _high_multiply(root, 1518500250)
    return (root << -shift, 0) if shift < 0 else (root, -shift)


def normalize(x: np.ndarray, bits: int) -> np.ndarray:
    """Rows of integers of ``bits`` bits, normalized with 10 fractional bits."""
    rows = []
    for row in x.reshape(-1, x.shape[-1]).astype(np.int64) << (16 - bits):
        width = len(row)
        mean = _divide(int(row.sum()) * 1024, width)
        variance = int((row**2).sum()) * (2**20 // width) - mean**2
        significand, shift = inverse_square_root(_divide(variance, 2**20))
        products = [_high_multiply(1024 * int(value) - mean, significand) for value in row]
        rows.append([_shift_away(product, -shift) for product in products])
    return np.array(rows).reshape(x.shape)
