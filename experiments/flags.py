"""Flags that the binaries share: a config file with overrides, and the processes of a job."""

import os
import pathlib
import traceback
from collections.abc import Callable, Sequence

import jax
from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from data.data_dir import DATA_DIR as DATA_DIR
from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.infra import program
from rnnt_qat.infra.config import ConfigError, field_paths, from_config_dict, unknown_field_message
from rnnt_qat.infra.host_memory import keep_freed_memory

_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, where several processes train together."
)
_PROCESS_ID = flags.DEFINE_integer("process_id", 0, "This process' number.", lower_bound=0)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", 1, "How many there are.", lower_bound=1)

_CPU_DEVICES = flags.DEFINE_integer(
    "cpu_devices",
    1,
    "Devices that the CPU stands for. One a core trains faster than one over all cores: an LSTM's "
    "steps are too small to share. Batches must hold a row for each.",
    lower_bound=1,
)

_SHARED = ("data_dir", "cpu_devices", "coordinator", "process_id", "num_processes")


def define_config() -> flags.FlagHolder:
    """The flag ``--config=FILE.py``, with ``--config.FIELD=VALUE`` for each field."""
    return config_flags.DEFINE_config_file("config", None, "A file of experiments/configs.")


def experiment_config(flag: flags.FlagHolder) -> ExperimentConfig:
    """The config file's experiment with the command line's overrides."""
    return from_config_dict(ExperimentConfig, flag.value)


def set_up_jax(workdir: pathlib.Path) -> None:
    """Keeps compiled programs for restarts; makes the devices and meets the processes asked for.

    To be called before anything computes.
    """
    keep_freed_memory()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(workdir / "compilation_cache"))
    if _CPU_DEVICES.value > 1:
        jax.config.update("jax_num_cpu_devices", _CPU_DEVICES.value)
        # A device waits for the others inside a thread of XLA's pool, so there must be more threads
        # than devices; each computes in its own.
        os.environ.setdefault("NPROC", str(4 * _CPU_DEVICES.value))
        flags_given = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags_given} --xla_cpu_multi_thread_eigen=false".strip()
    if _COORDINATOR.value is not None:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        # JAX would take SIGTERM for itself, and the trainer would never hear of it.
        jax.config.update("jax_enable_preemption_service", False)
        jax.distributed.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)


def run(main: Callable[[], int | None]) -> None:
    """Runs a binary's ``main`` (``infra.program.run``), the shared flags in its ``--help``."""
    defined = [name for name in ("config", *_SHARED) if name in flags.FLAGS]
    program.run(main, _parse, defined)


def _parse(argv: Sequence[str]) -> list[str]:
    argv = _with_equals_signs(argv)
    problem = _missing_config(argv) or _misspelt_override(argv)
    if problem:
        raise flags.Error(problem)
    try:
        return flags.FLAGS(argv)
    except (flags.Error, ConfigError):
        raise
    except Exception as error:
        # A config file is the user's own Python.
        config = next((value for name, value in _given(argv) if name == "config"), None)
        if config is None:
            raise
        raise ConfigError(f"--config={config}: {_where(error, config)}") from error


def _where(error: Exception, config: str) -> str:
    """What went wrong in a config file, and in which line of it."""
    file = pathlib.Path(config.partition(":")[0]).name
    lines = [
        f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith(file)
    ]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    return f"{type(error).__name__}: {error}" + (f" (line {line})" if line else "")


def _with_equals_signs(argv: Sequence[str]) -> list[str]:
    """``--config FILE`` as ``--config=FILE``, and so its fields: the form their parser takes."""
    joined, rest = [argv[0]], list(argv[1:])
    while rest:
        argument = rest.pop(0)
        name = argument.lstrip("-")
        ours = name == "config" or name.startswith("config.")
        if argument == "--":
            return [*joined, argument, *rest]
        if argument.startswith("-") and ours and "=" not in name and rest:
            argument += f"={rest.pop(0)}"
        joined.append(argument)
    return joined


def _given(argv: Sequence[str]) -> list[tuple[str, str]]:
    """Names and values of the flags written as ``--NAME=VALUE``."""
    parts = [a.lstrip("-").partition("=") for a in argv[1:] if a.startswith("-")]
    return [(name, value) for name, _, value in parts]


def _missing_config(argv: Sequence[str]) -> str | None:
    """What is wrong with a ``--config`` that is no file."""
    for name, value in _given(argv):
        path = pathlib.Path(value.partition(":")[0])
        if name == "config" and not path.is_file():
            ours = pathlib.Path(__file__).with_name("configs")
            there = ", ".join(sorted(p.name for p in ours.glob("[!_]*.py")))
            return f"--config={value}: there is no file {path}; experiments/configs has {there}"
    return None


def _misspelt_override(argv: Sequence[str]) -> str | None:
    """What is wrong with the first ``--config.FIELD`` that the config file does not have."""
    files = [value for name, value in _given(argv) if name == "config"]
    overrides = [name for name, _ in _given(argv) if name.startswith("config.")]
    if not files or not overrides:
        return None
    try:
        known = field_paths(ConfigFileFlagParser("config").parse(files[-1]).to_dict())
    except ConfigError:
        raise
    except Exception as error:  # a config file is the user's own Python
        raise ConfigError(f"--config={files[-1]}: {_where(error, files[-1])}") from error
    for name in overrides:
        path = name.removeprefix("config.").partition("[")[0]
        if path not in known:
            return f"--{name}: {unknown_field_message(path, known)}"
    return None
