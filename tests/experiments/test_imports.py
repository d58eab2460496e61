"""What programs import before their first line: nothing slow that they may not need."""

import os
import subprocess
import sys

from tests.experiments.forked import ROOT

SLOW = {"scipy.signal", "matplotlib", "grain", "tensorflow", "tensorflow_datasets", "av", "pandas"}
"""Modules of 0.1 s to 2 s each, needed to read a corpus or to draw."""

PROGRAMS = [
    *("adapt", "compact", "evaluate", "export", "formats", "options", "pack", "report", "search"),
    *("serve", "sweep", "train", "train_tokenizer", "train_within", "transcribe"),
]
# Each program is a fork of what all import; two in one process would define a flag twice.
IMPORT = """
import importlib, os, sys
import experiments.flags
for name in sys.argv[1:]:
    if not os.fork():
        importlib.import_module(f"experiments.{name}")
        os.write(1, f"{name} {' '.join(sys.modules)}\\n".encode())
        os._exit(0)
    assert os.wait()[1] == 0, name
"""


def test_slow_modules_are_imported_where_they_are_needed():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, *PROGRAMS],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    imported = {line.split()[0]: set(line.split()[1:]) for line in done.stdout.splitlines()}
    assert imported.keys() == set(PROGRAMS)
    in_vain = {name: SLOW & modules for name, modules in imported.items() if SLOW & modules}
    assert in_vain == {}
