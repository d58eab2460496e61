"""Says what a machine lacks for this repository, and what to do about it.

python doctor.py --venv=.venv --data_dir=corpora

Needs the standard library alone, so that it runs before anything is installed. Ends with status 1
if something that is needed is missing.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parent
_GIB = 1 << 30
_VERSIONS = """
import importlib.metadata, json, sys
print(json.dumps({d.metadata["Name"].lower().replace("_", "-"): d.version
                  for d in importlib.metadata.distributions()}))
"""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found about one thing.

    Attributes:
      name: what was looked at.
      state: ``ok``, ``missing`` (needed), or ``optional`` (missing, needed for a part).
      detail: what was found, or what to do.
    """

    name: str
    state: str
    detail: str


def findings(venv: pathlib.Path, data_dir: pathlib.Path) -> Iterator[Finding]:
    """Yields what is there and what is missing.

    Args:
      venv: folder of the virtual environment.
      data_dir: folder of the prepared corpora.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding(
        "Python",
        "ok" if good else "missing",
        version if good else f"{version}: 3.11 or newer is needed; make PYTHON=python3.12 ...",
    )
    for program, what in (("git", "provenance of results"), ("make", "the Makefile")):
        found = shutil.which(program)
        yield Finding(program, "ok" if found else "missing", found or f"install it: {what}")
    yield from _packages(venv)
    yield _room("memory", _memory_bytes(), 4 * _GIB, "training of the demo's model")
    free = shutil.disk_usage(ROOT).free
    yield _room("disk", free, 6 * _GIB, "environment, corpora and a run of the demo")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(
        "cores", "ok", f"{cores}; --cpu_devices={min(cores or 1, 2)} uses them in training"
    )
    apt = shutil.which("apt-get")
    yield Finding(
        "apt-get",
        "ok" if apt else "optional",
        apt or "without it `make demo` trains on synthetic speech alone",
    )
    corpora = sorted(
        {str(p.parent.relative_to(data_dir)) for p in data_dir.glob("**/features.json")}
    )
    yield Finding(
        "corpora",
        "ok" if corpora else "optional",
        ", ".join(corpora)
        or f"none in {data_dir}: `python -m data.prepare --help`, or `make demo` prepares two",
    )
    for program, what in (
        ("arecord", "live transcription from the terminal (Debian: alsa-utils)"),
        ("chromium", "the tests of the live page in a browser (Debian: chromium)"),
        ("nvidia-smi", "GPUs: none seen, JAX uses the CPU"),
    ):
        found = shutil.which(program)
        yield Finding(program, "ok" if found else "optional", found or what)


def _packages(venv: pathlib.Path) -> Iterator[Finding]:
    """Yields whether the environment holds what requirements.txt pins."""
    python = venv / "bin" / "python"
    if not python.exists():
        yield Finding("environment", "missing", f"no {python}: make environment")
        return
    import json

    done = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True)
    installed = json.loads(done.stdout)
    wrong = []
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if match := re.match(r"([\w.-]+)==([\w.]+)", line):
            name, version = match[1].lower().replace("_", "-"), match[2]
            if installed.get(name) != version:
                wrong.append(f"{name} {installed.get(name, 'missing')}, pinned {version}")
    if wrong:
        detail = f"{'; '.join(wrong[:5])}{' ...' if len(wrong) > 5 else ''}: make environment"
        yield Finding("environment", "missing", detail)
    else:
        yield Finding("environment", "ok", f"{venv} holds what requirements.txt pins")


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _room(name: str, there: int, needed: int, what: str) -> Finding:
    size = f"{there / _GIB:.0f} GiB"
    if there >= needed:
        return Finding(name, "ok", size)
    return Finding(name, "missing", f"{size}; {what} needs {needed / _GIB:.0f} GiB")


def main() -> int:
    """Prints the findings; returns 1 if something needed is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=pathlib.Path, default=ROOT / ".venv")
    parser.add_argument("--data_dir", type=pathlib.Path, default=pathlib.Path("corpora"))
    arguments = parser.parse_args()
    missing = 0
    for finding in findings(arguments.venv, arguments.data_dir):
        missing += finding.state == "missing"
        print(f"{finding.state:<9} {finding.name:<12} {finding.detail}")
    print("Nothing that is needed is missing." if not missing else f"{missing} needed: see above.")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
