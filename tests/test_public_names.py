"""What the rooms export, and what importing them costs."""

import ast
import importlib
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "rnnt_qat"
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
CORE = (
    *("accelerators", "artefact", "decoding", "fixedpoint", "frontend", "layers", "losses"),
    *("models", "objectives", "quant", "serving"),
)
"""Rooms that the package's own dependencies are enough for; the others need an extra."""
IMPORTED_AS = {"aqtp": "aqt"}
"""Names of modules where they differ from the name of their distribution."""
EXTRAS = (
    *("array_record", "grain", "jiwer", "matplotlib", "ml_collections", "orbax", "sentencepiece"),
    *("soundfile", "tensorboardX", "tensorflow_datasets", "av", "ai_edge_litert", "ethosu"),
    *("flatbuffers", "tflite_micro", "jinja2", "plotly", "starlette", "uvicorn"),
    *("evosax", "optuna"),
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


def dependencies() -> set[str]:
    """Top-level modules of the distributions that ``pip install .`` installs."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    names = (re.match(r"[\w.-]+", line).group() for line in project["dependencies"])
    return {IMPORTED_AS.get(name, name) for name in names}


def imports(path: pathlib.Path) -> set[str]:
    """Dotted names that a file imports anywhere, functions included."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    members = [n for n in nodes if isinstance(n, ast.ImportFrom)]
    return plain | {f"{n.module}.{alias.name}" for n in members for alias in n.names}


def file_of(name: str) -> pathlib.Path | None:
    """Returns the file of this package that holds what a dotted name imports."""
    if not name.startswith(f"{PACKAGE.name}."):
        return None
    path = PACKAGE.parent.joinpath(*name.split("."))
    found = [path.with_suffix(".py"), path / "__init__.py", path.parent.with_suffix(".py")]
    return next((candidate for candidate in found if candidate.is_file()), None)


@pytest.mark.parametrize("room", CORE)
def test_a_core_room_imports_only_the_package_s_dependencies(room):
    allowed = dependencies() | sys.stdlib_module_names | {PACKAGE.name}
    seen, waiting = set(), sorted((PACKAGE / room).rglob("*.py"))
    while waiting:
        path = waiting.pop()
        seen.add(path)
        names = imports(path)
        needed = {name.partition(".")[0] for name in names} - allowed
        assert not needed, f"{path}, which {room} imports, needs {needed}: not in [dependencies]"
        waiting += {file for name in names if (file := file_of(name))} - seen


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
