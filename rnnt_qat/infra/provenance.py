"""Provenance of a result: package versions, machine, commit and command."""

import importlib.metadata
import pathlib
import platform
import subprocess
import sys
from typing import Any

import jax

_PACKAGES = (
    # Computation and training.
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "optuna",
    "evosax",
    "orbax-checkpoint",
    "aqtp",
    "numpy",
    "scipy",
    # Audio and text.
    "grain",
    "array_record",
    "av",
    "sentencepiece",
    "soundfile",
    # Writing, running and compiling integer graphs.
    "flatbuffers",
    "ai-edge-litert",
    "tflite-micro",
    "ethos-u-vela",
)


def provenance() -> dict[str, Any]:
    """Returns the provenance of the current process as JSON, to be saved with its results."""
    device = jax.devices()[0]
    return {
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": git_commit(pathlib.Path(__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": f"{jax.device_count()} x {device.device_kind}",
        "processes": jax.process_count(),
        "packages": package_versions(),
    }


def package_versions() -> dict[str, str | None]:
    """Returns the versions of the packages that results may depend on; None for missing ones."""
    return {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str | None:
    """Returns a package's version; None if it is not installed, as it belongs to an extra."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit(directory: pathlib.Path) -> str | None:
    """Returns the current commit, with ``-modified`` if files differ; None without a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("-modified" if git("status", "--porcelain", "-uno") else "")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
