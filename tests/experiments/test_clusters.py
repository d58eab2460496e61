"""Recipes for clusters: scripts that bash reads, whole manifests, commands that are parsed."""

import pathlib
import re
import shlex
import subprocess

import pytest
import yaml

from tests.experiments.forked import ROOT, run_all

RECIPES = sorted((ROOT / "experiments/clusters").iterdir())


def manifests(recipe):
    return list(yaml.safe_load_all(recipe.read_text()))


def command(recipe: pathlib.Path) -> tuple[str, list[str]]:
    """Returns the module and the arguments of the one command of a recipe."""
    if recipe.suffix == ".sh":
        (line,) = re.findall(r"python -m .*", recipe.read_text().replace("\\\n", " "))
        words = shlex.split(line.partition(" || ")[0])
    else:
        (job,) = (m for m in manifests(recipe) if m["kind"] in ("Job", "RayJob"))
        if job["kind"] == "Job":
            (container,) = job["spec"]["template"]["spec"]["containers"]
            words = container["command"]
        else:
            (_, _, script) = shlex.split(job["spec"]["entrypoint"])
            words = shlex.split(script.partition("&& ")[2])
    assert words[:2] == ["python", "-m"]
    return words[2], [word.replace("$(JOB_COMPLETION_INDEX)", "3") for word in words[3:]]


def test_there_are_recipes_for_both_schedulers():
    assert [p.name for p in RECIPES] == [
        "sweep.kubernetes.yaml",
        "sweep.slurm.sh",
        "train.kubernetes.yaml",
        "train.slurm.sh",
    ]


@pytest.mark.parametrize("recipe", [p for p in RECIPES if p.suffix == ".sh"], ids=lambda p: p.name)
def test_bash_reads_the_scripts(recipe):
    subprocess.run(["bash", "-n", recipe], check=True)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.name)
def test_volumes_and_services_are_defined(recipe):
    if recipe.suffix == ".sh":
        return
    specs = []

    def pods(node):
        if isinstance(node, dict):
            if "containers" in node:
                specs.append(node)
            for value in node.values():
                pods(value)
        elif isinstance(node, list):
            for value in node:
                pods(value)

    pods(manifests(recipe))
    assert specs
    for spec in specs:
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_pods_of_a_training_find_pod_0():
    service, job = manifests(ROOT / "experiments/clusters/train.kubernetes.yaml")
    _, arguments = command(ROOT / "experiments/clusters/train.kubernetes.yaml")
    name = job["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert f"--coordinator={name}-0.{service['metadata']['name']}:1234" in arguments
    assert job["spec"]["completions"] == job["spec"]["parallelism"]
    assert f"--num_processes={job['spec']['completions']}" in arguments


@pytest.mark.slow
def test_the_commands_are_parsed():
    found = {}
    for recipe in RECIPES:
        module, arguments = command(recipe)
        found.setdefault(module, {})[recipe.name] = arguments
    assert found.keys() == {"experiments.train", "experiments.sweep"}
    for module, commands in found.items():
        for name, ended in run_all(module, commands, parse_only=True).items():
            assert ended.code == 0, f"{name}\n{ended.err}"
