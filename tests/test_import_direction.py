"""Imports run one way through the rooms (WORKSPACE.md)."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "rnnt_qat"

# Each room may import the rooms named and itself; these are everyone's.
EVERYONE = {"typing", "batch", "infra", "missing_packages"}
ARITHMETIC = {"quant", "accelerators", "fixedpoint"}
NETWORKS = {"models", "layers"} | ARITHMETIC
CHIP = {"artefact", "export", "serving", "verify", "latency"}
ALLOWED = {
    "infra": set(),
    "fixedpoint": set(),
    "accelerators": {"fixedpoint"},
    "quant": {"accelerators", "fixedpoint"},
    "layers": {"quant"},
    "models": {"layers", "quant"},
    "serving": NETWORKS,
    "losses": set(),
    "objectives": {"losses"} | NETWORKS,
    "decoding": {"frontend"},
    "metrics": {"decoding"},
    "frontend": set(),
    "input_pipeline": {"frontend"},
    "training": {"input_pipeline"},
    "evaluation": {"decoding", "metrics", "frontend", "input_pipeline"},
    "report": {"evaluation", "input_pipeline", "metrics", "training"},
    "artefact": set(),
    "export": {"artefact", "decoding", "frontend", "serving"} | NETWORKS,
    "verify": {"artefact", "export", "decoding", "serving"} | NETWORKS,
    "latency": {"artefact", "export", "verify"} | ARITHMETIC,
    "experiment": {
        "artefact",
        "decoding",
        "evaluation",
        "frontend",
        "input_pipeline",
        "losses",
        "metrics",
        "objectives",
        "serving",
        "training",
    }
    | NETWORKS,
    "adaptation": {
        "artefact",
        "decoding",
        "evaluation",
        "experiment",
        "export",
        "frontend",
        "input_pipeline",
        "losses",
    }
    | NETWORKS,
    "live": {"decoding", "experiment", "report"},
    "studies": {
        "adaptation",
        "experiment",
        "decoding",
        "evaluation",
        "frontend",
        "input_pipeline",
        "metrics",
        "report",
        "training",
    }
    | CHIP
    | NETWORKS,
}


def imported_modules(path: pathlib.Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(room: str):
    return sorted((PACKAGE / room).rglob("*.py"))


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_lies_below_it(room):
    allowed = {f"rnnt_qat.{name}" for name in ALLOWED[room] | EVERYONE | {room}}
    for path in files(room):
        for module in imported_modules(path):
            if module.startswith("rnnt_qat."):
                assert any(f"{module}.".startswith(f"{name}.") for name in allowed), (
                    f"{path.relative_to(ROOT)} imports {module}; {room} may import "
                    f"{', '.join(sorted(allowed))}"
                )
            top = module.partition(".")[0]
            assert top not in {"data", "experiments", "tests", "benchmarks"}, f"{path}: {module}"


def test_every_room_has_a_rule():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(ALLOWED)


def test_aqt_is_imported_in_one_file():
    importers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(module.partition(".")[0] == "aqt" for module in imported_modules(path))
    }
    assert importers == {"quant/aqt_engine.py"}
