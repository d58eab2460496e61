"""What the process does with memory that it has freed."""

import ctypes
import os
import sys

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Has the process reuse large blocks that it freed rather than hand them back.

    On a CPU, XLA allocates all of a program's temporaries anew at each call. glibc would map a
    block of that size afresh every time, and the kernel then clears it page by page on first use: a
    tenth of the LSTM stack's step (benchmarks/RESULTS.md). To be called before there are threads,
    as each may take a heap of its own; where accelerators hold the arrays it makes no difference.

    Returns:
      Whether it does: elsewhere than on glibc, and where the environment sets a ``MALLOC_``
      variable of its own, all stays as it is.
    """
    asked_otherwise = any(name.startswith("MALLOC_") for name in os.environ)
    if not sys.platform.startswith("linux") or asked_otherwise:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    # One heap, never shrunk, and no block outside it.
    return all([mallopt(_M_ARENA_MAX, 1), mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, -1)])
