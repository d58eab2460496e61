import pathlib
import subprocess
import sys

import doctor

ROOT = pathlib.Path(__file__).parents[1]


def test_a_machine_without_an_environment_is_told_what_to_do(tmp_path):
    found = {f.name: f for f in doctor.findings(tmp_path / ".venv", tmp_path)}
    assert found["environment"].state == "missing"
    assert "make environment" in found["environment"].detail
    assert found["corpora"].state == "optional"
    assert found["Python"].state == "ok"


def test_wrong_versions_are_named(tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho \'{"jax": "0.1"}\'\n')
    python.chmod(0o755)
    (found,) = doctor._packages(tmp_path)
    assert found.state == "missing"
    assert "absl-py missing, pinned" in found.detail


def test_it_runs_without_packages_and_make_lists_the_targets():
    arguments = [sys.executable, "-S", "-I", str(ROOT / "doctor.py"), "--venv=/nowhere"]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "make environment" in done.stdout
    listed = subprocess.run(["make"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    for target in ("demo", "doctor", "test", "environment", "clean"):
        assert f"  {target} " in listed


def test_make_says_what_takes_minutes():
    arguments = ["make", "--dry-run", "environment", "VENV=/nowhere/.venv"]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=True)
    said = [line for line in done.stdout.splitlines() if line.startswith("echo")]
    assert "some minutes without output" in said[0]
