"""Cases of ``benchmarks.accelerator``, each a process: prints rows of JSON.

python -m benchmarks.accelerator_cases SECTION [ARGUMENT ...]
"""

import sys

from benchmarks.accelerator_integers import integers
from benchmarks.accelerator_parts import loss, lstm, matmul, peer
from benchmarks.accelerator_recognizers import decode, step
from benchmarks.accelerator_timing import check_devices

SECTIONS = {each.__name__: each for each in (integers, matmul, loss, peer, lstm, step, decode)}

if __name__ == "__main__":
    check_devices()
    SECTIONS[sys.argv[1]](*sys.argv[2:])
