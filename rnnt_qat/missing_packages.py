"""Messages for packages that are not installed: which extra of this project brings them.

It needs the standard library alone, so that it can speak where nothing else is installed.
"""

import importlib.util
import sys
from types import TracebackType

_TRAIN, _DATA = "train", "data"
EXTRAS = {
    **dict.fromkeys(("aqt", "flax", "jax", "jaxtyping", "lazy_loader", "numpy", "optax"), _TRAIN),
    **dict.fromkeys(("absl", "array_record", "grain", "jinja2", "jiwer", "matplotlib"), _TRAIN),
    **dict.fromkeys(("ml_collections", "orbax", "plotly", "scipy", "sentencepiece"), _TRAIN),
    **dict.fromkeys(("soundfile", "tensorboardX", "tensorflow_datasets"), _TRAIN),
    **dict.fromkeys(("av", "hibari", "py_nanotts"), _DATA),
    "onnxruntime": "kokoro",
    **dict.fromkeys(("ai_edge_litert", "ethosu", "flatbuffers", "tflite_micro"), "export"),
    "ray": "cluster",
    **dict.fromkeys(("fsspec", "gcsfs", "s3fs"), "remote"),
    **dict.fromkeys(("evosax", "optuna"), "search"),
    **dict.fromkeys(("starlette", "uvicorn", "websockets"), "serve"),
    "mlflow": "mlflow",
    "wandb": "wandb",
}
"""Extras by module; ``train`` for what the core imports too, since programs need more than that."""


def install_extra(extra: str) -> str:
    """Returns how an extra of this package is installed; no index of packages has it."""
    return f"`pip install '.[{extra}]'` in the folder of this repository"


def missing_package(error: BaseException | None) -> str | None:
    """Returns the message of an import that lacks a package of an extra; None for other errors."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    module = error.name.partition(".")[0]
    if module not in EXTRAS:
        return None
    return (
        f"{module} is not installed for {sys.executable}: {install_extra(EXTRAS[module])} installs "
        "it; if .venv has it, start the program with .venv/bin/python"
    )


def require_package(module: str) -> None:
    """Checks early that a package can be imported, without importing it.

    Args:
      module: its top-level module.

    Raises:
      ModuleNotFoundError: if it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def watch_packages() -> None:
    """Reports a missing package in one line; called by packages of programs.

    It does so while ``python -m PACKAGE.MODULE`` imports its own package (``sys.argv[0]`` is ``-m``
    just then), so that whoever imports such a package as a library keeps its hook. Once a program
    runs, ``infra.program`` reports it.
    """
    if sys.argv[:1] == ["-m"] and sys.excepthook is sys.__excepthook__:
        sys.excepthook = _report


def watch_imports() -> None:
    """Reports a missing package in one line, and Ctrl-C too (``infra.early_interrupt``)."""
    watch_packages()
    from rnnt_qat.infra import early_interrupt  # its room needs a package of the core

    early_interrupt.watch_imports()


def _report(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if message := missing_package(error):
        print(message, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
