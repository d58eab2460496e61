"""What a result came from: versions, machine, commit, command."""

import importlib.metadata
import pathlib
import platform
import subprocess
import sys
from typing import Any

import jax

_PACKAGES = (
    # What computes and trains,
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "aqtp",
    "numpy",
    "scipy",
    # what reads audio and text,
    "grain",
    "array_record",
    "av",
    "sentencepiece",
    "soundfile",
    # what integers are written with, run on and compiled by.
    "flatbuffers",
    "ai-edge-litert",
    "tflite-micro",
    "ethos-u-vela",
)


def provenance() -> dict[str, Any]:
    """JSON to be kept beside a run's results."""
    device = jax.devices()[0]
    return {
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": git_commit(pathlib.Path(__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": f"{jax.device_count()} x {device.device_kind}",
        "processes": jax.process_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    """The installed version; None where the package is not installed (it is in an extra)."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit(directory: pathlib.Path) -> str | None:
    """The commit checked out, ``-modified`` if files differ from it; None outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("-modified" if git("status", "--porcelain", "-uno") else "")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
