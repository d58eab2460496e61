import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from rnnt_qat.infra.host_memory import keep_freed_memory

print(int(keep_freed_memory()))
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 << 20, np.uint8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(program=PROGRAM, **environment):
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**plain, "NUMPY_MADVISE_HUGEPAGE": "0", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(word) for word in done.stdout.split()]


def test_a_block_of_the_size_of_one_freed_needs_no_new_pages():
    kept, first, second = run()
    if not kept:
        pytest.skip("not glibc")
    assert first > 10_000
    assert second < 100


def test_what_the_environment_asks_for_stays():
    kept, first, second = run(MALLOC_MMAP_THRESHOLD_="65536")
    assert not kept
    assert min(first, second) > 10_000


UNDER_RUN = """
import resource
import threading
import numpy as np
from rnnt_qat.infra.program import run

def main():
    def work():
        for _ in range(2):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            np.ones(64 << 20, np.uint8)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

run(main)
"""


def test_threads_of_a_program_keep_freed_blocks_too():
    """XLA computes in threads of its own, which take heaps of their own from the first one on."""
    if not run()[0]:
        pytest.skip("not glibc")
    first, second = run(program=UNDER_RUN)
    assert first > 10_000
    assert second < 100
