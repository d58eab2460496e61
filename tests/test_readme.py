"""Commands of the README and of the modules' docstrings are ones that the binaries take."""

import pathlib
import re
import shlex

import pytest

from tests.experiments.forked import ROOT, run_all

SOURCES = ["README.md", "WORKSPACE.md", "TUTORIAL.md", *sorted(
    str(p.relative_to(ROOT)) for p in (ROOT / "experiments").glob("**/*.py")
)]  # fmt: skip


def commands(path: pathlib.Path):
    """Argument lists of the ``python -m`` commands in a text, by module."""
    text = path.read_text()
    joined = re.sub(r"\\\n\s+", "", text)
    for line in joined.splitlines():
        match = re.match(r"\s*(?:[^`#]*\| )?python -m ((?:experiments|data)\.\w+)(\s.*|$)", line)
        if match:
            module, rest = match.groups()
            argv = shlex.split(rest, comments=True)
            shell = [i for i, argument in enumerate(argv) if argument in (">", "|")]
            yield module, argv[: shell[0]] if shell else argv


def all_commands():
    found = {}
    for source in SOURCES:
        for module, argv in commands(ROOT / source):
            given = " ".join(argv)  # a loop of the shell gives its variable ($v) a value
            if argv and "..." not in given and "$v" not in given and argv != ["--help"]:
                found.setdefault(module, {})[f"{source}: {shlex.join(argv)}"] = argv
    return found


def test_there_are_commands_for_every_binary():
    binaries = {f"experiments.{p.stem}" for p in (ROOT / "experiments").glob("[!_]*.py")}
    shared = ("flags", "engine_flags", "policy_flags", "interrupt", "next_steps")
    binaries -= {f"experiments.{name}" for name in shared}
    assert binaries | {"data.prepare"} <= all_commands().keys()


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted(all_commands()))
def test_every_command_is_parsed(module):
    for name, ended in run_all(module, all_commands()[module], parse_only=True).items():
        assert ended.code == 0, f"{name}\n{ended.err}"


def test_readme_installs_accelerators_at_the_pinned_version_and_shows_curves():
    text, pins = ((ROOT / name).read_text() for name in ("README.md", "requirements.txt"))
    (pinned,) = re.findall(r"^jax==([\d.]+)", pins, re.M)
    assert set(re.findall(r"jax\[([a-z]+)\d*\]==([\d.]+)", text)) == {
        ("cuda", pinned),
        ("tpu", pinned),
    }
    assert "tensorboard --logdir=" in text


def test_the_first_training_of_the_readme_uses_two_cores():
    first = next(argv for m, argv in commands(ROOT / "README.md") if m == "experiments.train")
    assert "--cpu_devices=2" in first


def test_readme_names_the_environment_before_the_first_command():
    text = (ROOT / "README.md").read_text()
    assert text.index(".venv/bin/activate") < text.index("python -m ")
