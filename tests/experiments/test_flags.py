"""What the binaries say of flags that do not fit."""

import json

import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections import config_flags

import experiments.flags
from experiments.flags import _missing_config, _misspelt_override, _parse, _with_equals_signs
from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.experiment.run_files import RunFiles
from rnnt_qat.infra.config import ConfigError, from_json, to_json
from rnnt_qat.infra.config_overrides import from_config_dict
from rnnt_qat.training.checkpoints import ConfigMismatchError

SMOKE = "--config=experiments/configs/prompts_smoke.py"


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("config.stages.float.stps=3", "stages.float.steps"),
        ("config.stages.float_training.steps=3", "stages.float.steps"),
        ("config.sead=3", "seed"),
    ],
)
def test_typo_names_the_nearest_field(override, nearest):
    message = _misspelt_override(["train", SMOKE, f"--{override}"])
    path = override.removeprefix("config.").partition("=")[0]
    assert f"there is no field {path!r}; did you mean {nearest!r}?" in message


def test_right_names_pass():
    assert _misspelt_override(["train", SMOKE, "--config.seed=3", "--workdir=x"]) is None
    assert _misspelt_override(["train", "--workdir=x"]) is None


def test_a_config_that_is_no_file_names_those_there_are():
    message = _missing_config(["train", "--config=experiments/configs/promts.py:small"])
    assert "there is no file experiments/configs/promts.py; experiments/configs has" in message
    assert "prompts.py" in message
    assert _missing_config(["train", SMOKE, "--workdir=x"]) is None


def test_a_variant_that_the_config_file_lacks_names_those_it_has():
    name = "--config=experiments/configs/librispeech.py:by_speakr"
    with pytest.raises(ConfigError, match="no variant 'by_speakr'; there are full_960, "):
        _parse(["train", name, "--config.seed=3"])


def test_unknown_flag_is_named():
    with pytest.raises(flags.Error, match="Unknown command line flag 'wrkdir'"):
        _parse(["train", "--wrkdir=x"])
    flags.FLAGS.unparse_flags()


def test_values_may_follow_after_a_space():
    argv = ["train", "--config", "a.py", "--workdir", "x", "--config.seed", "-3", "--diagnose"]
    joined = ["train", "--config=a.py", "--workdir", "x", "--config.seed=-3", "--diagnose"]
    assert _with_equals_signs(argv) == joined
    assert _with_equals_signs(joined) == joined


WIDTHS = "config.model.encoder.hidden_size"


def overridden(monkeypatch, *overrides, config="experiments/configs/prompts_smoke.py"):
    """The experiment of a config file with overrides."""
    argv = ["train", f"--config={config}", *(f"--{override}" for override in overrides)]
    monkeypatch.setattr("sys.argv", argv)
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    values(argv)
    return from_config_dict(ExperimentConfig, holder.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(4,6,8)", (4, 6, 8)),
        ("(4, 6, 8)", (4, 6, 8)),
        ("4,6,8", (4, 6, 8)),
        ("[4,6,8]", (4, 6, 8)),
        ("8", 8),
    ],
)
def test_a_field_takes_what_its_type_allows(text, expected, monkeypatch):
    """Widths of three layers where the config file has one number, which come back from JSON."""
    override = f"{WIDTHS}={text}"
    config = overridden(monkeypatch, "config.model.encoder.num_layers=3", override)
    assert config.model.encoder.hidden_size == expected
    assert from_json(ExperimentConfig, json.loads(json.dumps(to_json(config)))) == config


def test_a_number_may_replace_widths(tmp_path, monkeypatch):
    (tmp_path / "widths.py").write_text(
        "import dataclasses\n"
        "from experiments.configs import prompts_smoke\n"
        "from rnnt_qat.infra.config_overrides import config_dict\n"
        "def get_config():\n"
        "  made = prompts_smoke.experiment()\n"
        "  encoder = dataclasses.replace(made.model.encoder, num_layers=2, hidden_size=(4, 6))\n"
        "  model = dataclasses.replace(made.model, encoder=encoder)\n"
        "  return config_dict(dataclasses.replace(made, model=model))\n"
    )
    read = {"config": str(tmp_path / "widths.py")}
    assert overridden(monkeypatch, **read).model.encoder.hidden_size == (4, 6)
    assert overridden(monkeypatch, f"{WIDTHS}=7", **read).model.encoder.hidden_size == 7
    assert overridden(monkeypatch, f"{WIDTHS}=9,7", **read).model.encoder.hidden_size == (9, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", r"model\.encoder\.hidden_size: 'abc' is not of type int \| tuple\[int, \.\.\.\]"),
        ("(4,b)", r"model\.encoder\.hidden_size: '\(4,b\)' is not of type int"),
        ("(4,6.5,8)", r"model\.encoder\.hidden_size: \(4, 6\.5, 8\) is not of type int"),
        ("4.0", r"model\.encoder\.hidden_size: 4\.0 is not of type int"),
        ("True", r"model\.encoder\.hidden_size: True is not of type int"),
        ("", r"model\.encoder\.hidden_size: '' is not of type int"),
        ("None", r"model\.encoder\.hidden_size: None is not of type int"),
        ("{'a':1}", r"model\.encoder\.hidden_size: \{'a': 1\} is not of type int"),
        ("()", r"model\.encoder: .*hidden_size=\(\): 0 widths for num_layers=3"),
        ("(4,6)", r"model\.encoder: .*hidden_size=\(4, 6\): 2 widths for num_layers=3"),
        ("-4", r"model\.encoder: .*hidden_size=-4: it must be at least 1"),
        ("(4,-6,8)", r"model\.encoder: .*hidden_size=\(4, -6, 8\): it must be at least 1"),
    ],
)
def test_what_the_type_of_a_field_does_not_allow_names_it(text, message, monkeypatch):
    with pytest.raises(ConfigError, match=message):
        overridden(monkeypatch, "config.model.encoder.num_layers=3", f"{WIDTHS}={text}")


def test_a_run_with_overridden_widths_goes_on_with_the_same_ones_only(tmp_path, monkeypatch):
    def asked(widths):
        return overridden(monkeypatch, "config.model.encoder.num_layers=2", f"{WIDTHS}={widths}")

    files = RunFiles(tmp_path)
    files.claim(asked("(4,6)"), None)
    (tmp_path / "checkpoints/0_float/10").mkdir(parents=True)
    assert files.require_same_run(asked("4,6")) == []
    for other in ("4", "(6,4)"):
        with pytest.raises(ConfigMismatchError, match=r"hidden_size.*before"):
            files.require_same_run(asked(other))


def test_only_programs_that_share_their_work_join_other_processes(monkeypatch):
    """A sweep on Ray may be one process of a Slurm job whose others will never join."""
    joined = []
    monkeypatch.setattr(experiments.flags, "set_up_devices", lambda *_: None)
    monkeypatch.setattr("rnnt_qat.infra.processes.join", lambda *where: joined.append(where))
    monkeypatch.setattr("rnnt_qat.infra.processes.join_detected", lambda: joined.append("found"))
    flags.FLAGS.mark_as_parsed()
    try:
        experiments.flags.set_up_jax()
        assert not joined
        experiments.flags.set_up_jax(several=True)
        assert joined == ["found"]
        with flagsaver.flagsaver(coordinator="host:1", num_processes=2, process_id=1):
            experiments.flags.set_up_jax(several=True)
            assert joined[1:] == [("host:1", 2, 1)]
            with pytest.raises(flags.ValidationError, match=r"--coordinator=host:1: this program"):
                experiments.flags.set_up_jax()
        assert len(joined) == 2
    finally:
        flags.FLAGS.unparse_flags()
