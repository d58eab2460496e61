"""What the rooms export, and what importing them costs."""

import ast
import importlib
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "rnnt_qat"
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
CORE = ("losses", "fixedpoint", "accelerators", "quant", "layers", "decoding")
"""Rooms that the package's own dependencies are enough for; the others need an extra."""
EXTRAS = (
    *("array_record", "grain", "jiwer", "matplotlib", "ml_collections", "orbax", "sentencepiece"),
    *("soundfile", "tensorboardX", "tensorflow_datasets", "av", "ai_edge_litert", "ethosu"),
    *("flatbuffers", "tflite_micro", "jinja2", "plotly", "starlette", "uvicorn"),
)


def stub_names(room: str) -> set[str]:
    """Names that a room's stub shows to type checkers."""
    stub = PACKAGE / room / "__init__.pyi"
    path = stub if stub.exists() else PACKAGE / room / "__init__.py"
    imports = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_of_a_room_exists_and_is_no_module_s(room):
    module = importlib.import_module(f"rnnt_qat.{room}")
    names = set(module.__all__)
    assert names == stub_names(room)
    for name in names:
        getattr(module, name)
    # ``from room import name`` would give the module as soon as anybody has imported it.
    assert not names & {path.stem for path in (PACKAGE / room).glob("*.py")}


def run_without(blocked: tuple[str, ...], program: str) -> str:
    """Runs a program in a fresh interpreter in which some packages cannot be imported."""
    block = f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", block + program],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_core_rooms_need_no_extra():
    run_without(
        EXTRAS,
        "import importlib\n"
        f"for room in {CORE}:\n"
        "    module = importlib.import_module(f'rnnt_qat.{room}')\n"
        "    for name in module.__all__: getattr(module, name)\n",
    )


def test_the_losses_load_no_other_room():
    rooms = "{name.split('.')[1] for name in sys.modules if name.startswith('rnnt_qat.')}"
    printed = run_without(EXTRAS, f"import rnnt_qat.losses\nprint(*{rooms})")
    assert set(printed.split()) == {"losses", "typing"}
