"""The commands that programs name at their end run as they are printed."""

import json
import shlex
import subprocess

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import next_steps
from rnnt_qat.infra.next_command import command
from rnnt_qat.quant.policies import policy_by_name
from tests.experiments.forked import run_all


@pytest.fixture(autouse=True)
def parsed():
    flags.FLAGS.mark_as_parsed()
    yield
    flags.FLAGS.unparse_flags()


def split(line):
    """The program and the flags of a line."""
    head, *given = shlex.split(line.removeprefix("next: python -m "))
    return head, dict(flag.removeprefix("--").split("=", 1) for flag in given)


def policies(*lines, run="workdir/a"):
    return {f"{run}/models/{line}": policy_by_name(line) for line in lines}


def test_a_shell_takes_the_line_as_it_is():
    line = command("experiments.evaluate", {"models": ["a b", "c"], "diagnose": 0, "test": None})
    assert line == "python -m experiments.evaluate '--models=a b,c' --diagnose=0"


def test_the_corpora_are_named_where_they_are_not_at_their_place():
    assert split(next_steps.evaluation("s3://bucket/a"))[1] == {"workdir": "s3://bucket/a"}
    with flagsaver.flagsaver(data_dir="/speech"):
        assert split(next_steps.evaluation("a"))[1] == {"workdir": "a", "data_dir": "/speech"}


def test_models_of_a_chip_are_exported_to_a_new_folder(tmp_path):
    run = str(tmp_path)
    given = policies("float32", "generic_nna", "ethos_u_8x8_16", run=run)
    line = next_steps.from_measured(given, run)
    models = f"{run}/models/float32,{run}/models/ethos_u_8x8_16"
    assert split(line) == ("experiments.export", {"model": models, "output": f"{run}/export"})
    (tmp_path / "export").mkdir()
    assert split(next_steps.from_measured(given, run)) == split(line)
    (tmp_path / "export/report.md").touch()
    assert split(next_steps.from_measured(given, run))[1]["output"] == f"{run}/export_2"


@pytest.mark.parametrize("line", ["w8a8", "generic_nna", "ethos_u_8x8_16@encoder"])
@pytest.mark.parametrize("run", ["workdir/a", "s3://bucket/a"])
def test_without_one_the_float_model_is_put_on_a_chip(line, run):
    assert split(next_steps.from_measured(policies("float32", line, run=run), run)) == (
        "experiments.sweep",
        {
            "models": f"{run}/models/float32",
            "policies": "ethos_u_8x8_16",
            "workdir": f"{run}/sweep",
        },
    )


def test_what_can_neither_be_exported_nor_swept_is_listened_to():
    assert split(next_steps.from_measured(policies("w8a8"), "workdir/a")) == (
        "experiments.serve",
        {"model": "workdir/a/models/w8a8"},
    )


def test_a_sweep_names_the_models_that_it_made(tmp_path):
    for name in ("w8a8/models/aware", "chip/models/calibrated", "chip/models/aware"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "recognizer.json").touch()
    lines = {"w8a8": "w8a8", "chip": "tosa_16x8", "none": "w4a8"}
    made = {f"{tmp_path}/{name}": line for name, line in lines.items()}
    line = next_steps.from_sweep("a/models/float", made, str(tmp_path))
    found = ("w8a8/models/aware", "chip/models/aware", "chip/models/calibrated")
    models = ["a/models/float", *(f"{tmp_path}/{name}" for name in found)]
    assert split(line) == (
        "experiments.export",
        {"model": ",".join(models), "output": f"{tmp_path}/export"},
    )
    line = next_steps.from_sweep("a/models/float", {}, "a/sweep")
    assert split(line)[1]["workdir"] == "a/sweep_on_chip"


@pytest.mark.parametrize(
    ("calibrated", "trained"),
    [
        ({"trained": False}, {"trained": True}),
        # Artefacts of the versions before the field.
        ({"stage": "calibration", "step": 2}, {"stage": "aware", "step": 2}),
    ],
)
def test_an_export_plays_its_trained_artefact(calibrated, trained, tmp_path):
    for name, origin in (("b_calibrated", calibrated), ("d_trained", trained)):
        (tmp_path / name / "artefact").mkdir(parents=True)
        manifest = json.dumps({"origin": origin})
        (tmp_path / name / "artefact/manifest.json").write_text(manifest)
    microphone, line = next_steps.from_exported(tmp_path).split(" | ")
    assert microphone == "next: arecord -f S16_LE -r 16000 -c 1"
    played = {"model": f"{tmp_path}/d_trained/artefact", "audio": "-"}
    assert split(line.removeprefix("python -m ")) == ("experiments.transcribe", played)
    remote = next_steps.from_exported(tmp_path, "s3://bucket/export/")
    assert "--model=s3://bucket/export/d_trained/artefact " in remote
    assert next_steps.from_exported(tmp_path / "d_trained") is None


def test_models_belong_to_the_run_that_made_them():
    assert next_steps.run_of("workdir/a/models/float") == "workdir/a"
    assert next_steps.run_of("s3://bucket/a/models/float/") == "s3://bucket/a"
    assert next_steps.run_of("data/pretrained/assistant") == "workdir/assistant"


def test_the_front_of_a_search_is_swept_whole(tmp_path):
    output = tmp_path / "a search"
    output.mkdir()
    (output / "policies.txt").write_text("ethos_u_8x8_16\nethos_u_8x8_16[joint:weights=4]\n")
    lines = (output / "policies.txt").read_text().splitlines()
    for place in (str(output), "s3://bucket/search/"):
        line = next_steps.training_the_front("a/models/float", place, lines).removeprefix("next: ")
        script = f"python() {{ printf '%s\\n' \"$@\"; }}\n{line}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[2:] == [
            "--models=a/models/float",
            f"--workdir={place.rstrip('/')}/sweep",
            "--policies=ethos_u_8x8_16,ethos_u_8x8_16[joint:weights=4]",
        ]


def test_a_page_is_opened_by_its_address(tmp_path):
    line = next_steps.opening(tmp_path / "a b.html")
    assert line == f"next: python -m webbrowser -t file://{tmp_path}/a%20b.html"


@pytest.mark.slow
def test_the_programs_take_the_lines():
    chip, other = policies("float32", "ethos_u_8x8_16"), policies("float32", "w8a8")
    with flagsaver.flagsaver(data_dir="/speech"):
        lines = [
            next_steps.evaluation("workdir/a"),
            next_steps.from_measured(chip, "workdir/a"),
            next_steps.from_measured(other, "workdir/a"),
            next_steps.from_measured(policies("w8a8"), "workdir/a"),
            next_steps.playing("a/artefact").partition("| python -m ")[2],
        ]
    for line in lines:
        module, *given = shlex.split(line.removeprefix("next: python -m "))
        (ended,) = run_all(module, {line: given}, parse_only=True).values()
        assert ended.code == 0, f"{line}\n{ended.err}"
