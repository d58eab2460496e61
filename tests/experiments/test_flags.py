"""What the binaries say of flags that do not fit."""

import pytest
from absl import flags
from absl.testing import flagsaver

import experiments.flags
from experiments.flags import _missing_config, _misspelt_override, _parse, _with_equals_signs
from rnnt_qat.infra.config import ConfigError

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
