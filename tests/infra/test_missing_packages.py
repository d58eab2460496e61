"""Programs on machines without a package: one message that names the extra, and the help."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest

from rnnt_qat.infra.program import explain
from rnnt_qat.missing_packages import EXTRAS, missing_package
from tests.experiments.forked import ROOT

BLOCK = """
import os, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["BLOCKED"].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""
SEARCHED = "--model=data/pretrained/digits"
ON_A_CHIP = "--model=tests/golden/model"
MISSING = [
    ("experiments.adapt", "evosax", "search", ["--artefact=no", "--speech=a:b", "--output=no"]),
    ("experiments.search", "optuna", "search", [SEARCHED, "--output=OUT"]),
    ("experiments.search", "ethosu", "export", [SEARCHED, "--output=OUT"]),
    ("experiments.export", "tflite_micro", "export", [ON_A_CHIP, "--output=OUT"]),
    ("experiments.export", "ethosu", "export", [ON_A_CHIP, "--output=OUT"]),
    ("experiments.sweep", "flatbuffers", "export", ["--models=no", "--export=u55-128"]),
    ("experiments.serve", "starlette", "serve", [SEARCHED, "--port=0"]),
    ("experiments.serve", "uvicorn", "serve", [SEARCHED, "--port=0"]),
    ("experiments.report", "plotly", "train", []),
    ("experiments.report", "jinja2", "train", []),
    ("experiments.train", "ml_collections", "train", []),
    ("experiments.train", "lazy_loader", "train", []),
    ("data.prepare", "tensorflow_datasets", "train", []),
    ("benchmarks.live_load", "websockets", "serve", []),
]
OPTIONAL = ",".join(module for module, extra in EXTRAS.items() if extra != "train")
PROGRAMS = sorted(
    f"experiments.{path.stem}"
    for path in (ROOT / "experiments").glob("*.py")
    if "__main__" in path.read_text()
)


def start(program, blocked, tmp_path, *arguments):
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", program, *arguments],
        env=os.environ | {"PYTHONPATH": path, "BLOCKED": blocked},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize(("program", "module", "extra", "arguments"), MISSING)
def test_a_missing_package_is_one_message(program, module, extra, arguments, tmp_path):
    given = [argument.replace("OUT", str(tmp_path / "out")) for argument in arguments]
    done = start(program, module, tmp_path, *given)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{module} is not installed for {sys.executable}: `pip install '.[")
    assert f"'.[{extra}]'" in line


@pytest.mark.parametrize("program", [*PROGRAMS, "data.prepare"])
def test_the_help_needs_what_trains_alone(program, tmp_path):
    done = start(program, OPTIONAL, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert "--data_dir" in done.stdout or "--model" in done.stdout


WRONG = [
    ("experiments.export", ["--model=no", "--output=OUT", "--targets=u1"], "--targets: u1 is none"),
    ("experiments.export", [ON_A_CHIP, "--output=OUT", "--chunks=0"], "--chunks=0: give whole"),
    ("experiments.export", ["--no_such_flag=1"], "no_such_flag"),
    ("experiments.export", [ON_A_CHIP, "--output=tests"], "--output=tests is not empty"),
    ("experiments.export", ["--model=no", "--output=OUT"], "no holds no recognizer"),
    ("experiments.search", [SEARCHED, "--output=OUT", "--bits=4,9"], "from 2 to 8, by comma"),
    ("experiments.search", [SEARCHED, "--output=OUT", "--trials=x"], "--trials=x: this is not"),
    ("experiments.search", [SEARCHED, "--output=OUT", "--chip=no"], "--chip=no: no: unknown"),
    ("experiments.search", [ON_A_CHIP, "--output=OUT"], "a search starts from a float32"),
    ("experiments.sweep", ["--models=no", "--export=u1"], "--export: u1 is none of"),
]


@pytest.mark.parametrize(("program", "arguments", "message"), WRONG)
def test_wrong_arguments_are_named_without_the_extra(program, arguments, message, tmp_path):
    given = [argument.replace("OUT", str(tmp_path / "out")) for argument in arguments]
    done = start(program, OPTIONAL, tmp_path, *given)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_workers_of_peers_need_none_of_our_packages(tmp_path):
    blocked = ",".join(EXTRAS.keys() - {"numpy"})
    done = start("benchmarks.loss_inputs", blocked, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_package_missed_later_is_one_message_too():
    for extra, module in (("search", "evosax"), ("data", "av")):
        message, code = explain(ModuleNotFoundError("gone", name=f"{module}.algorithms"))
        assert f"'.[{extra}]'" in message
        assert code == 1


def test_a_module_of_our_own_that_is_missing_is_a_fault():
    assert missing_package(ModuleNotFoundError("gone", name="rnnt_qat.losses.ctd")) is None
    assert explain(ImportError("cannot import name 'x'", name="jax")) is None


def test_every_package_of_an_extra_is_known():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"] | {"train": project["dependencies"]}
    extras["train"] += project["optional-dependencies"]["train"]
    modules_of = {}
    for module, distributions in metadata.packages_distributions().items():
        for distribution in distributions:
            modules_of.setdefault(re.sub("[-_.]+", "-", distribution).lower(), set()).add(module)
    for extra, lines in extras.items():
        for line in lines if extra != "dev" else ():
            name = re.sub("[-_.]+", "-", re.match(r"[\w.-]+", line).group()).lower()
            known = modules_of.get(name, set()) & EXTRAS.keys()
            if name in modules_of and not name.startswith(("rnnt-qat", "kokoro")):
                assert known, f"{name}: none of {modules_of[name]} is in EXTRAS"
                assert extra in {EXTRAS[module] for module in known}, name


def test_every_import_from_outside_is_known():
    """Of the programs and what they import; peers of benchmarks have environments of their own."""
    ours = {"rnnt_qat", "data", "experiments", "benchmarks", "tests"}
    for room in ("rnnt_qat", "data", "experiments"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                for top in {name.partition(".")[0] for name in names}:
                    known = ours | sys.stdlib_module_names | EXTRAS.keys()
                    assert top in known, f"{path.relative_to(ROOT)}: {top}"
