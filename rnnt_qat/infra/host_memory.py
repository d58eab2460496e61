"""Reuse of freed host memory by the C allocator."""

import ctypes
import os
import sys

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Makes the allocator keep large freed blocks instead of returning them to the kernel.

    On a CPU, XLA allocates all of a program's temporaries anew at each call. glibc would map a
    block of that size afresh every time, and the kernel then clears it page by page on first use: a
    tenth of the LSTM stack's step (benchmarks/RESULTS.md). Call this before any thread is started,
    because threads may get heaps of their own. It has no effect if arrays are on accelerators.

    Returns:
      Whether the setting was applied. Nothing is changed on other C libraries than glibc or if the
      environment sets a ``MALLOC_`` variable.
    """
    asked_otherwise = any(name.startswith("MALLOC_") for name in os.environ)
    if not sys.platform.startswith("linux") or asked_otherwise:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    # Use one heap that never shrinks, and allocate no block outside it.
    return all([mallopt(_M_ARENA_MAX, 1), mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, -1)])
